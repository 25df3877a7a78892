//! Uploads in parts: begun, sent, completed, aborted and listed, as S3 does.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::Sha256Hash;

use super::{Answered, Asked, State, checksum, element, refused};

/// The least bytes of a part but the last.
pub(super) const PART_BYTES_MIN: usize = 5 << 20;

/// The most uploads that S3 lists at once
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>).
pub(super) const LISTED_MAX: usize = 1_000;

/// The most parts.
const PARTS_MAX: u32 = 10_000;

/// An upload that has begun.
#[derive(Debug)]
pub(super) struct Upload {
    path: String,
    /// The headers that it began with.
    headers: BTreeMap<String, String>,
    parts: BTreeMap<u32, Vec<u8>>,
}

fn said(status: u16, headers: &[(&str, String)], body: String) -> Answered {
    let owned = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
    Answered {
        status,
        headers: headers.iter().map(owned).collect(),
        body: body.into_bytes(),
    }
}

/// What tells a part from another.
fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &Sha256Hash::of(bytes).to_string()[..32])
}

impl State {
    pub(super) fn begin(&mut self, path: &str, asked: &Asked) -> Answered {
        assert!(asked.body.is_empty(), "an upload begins with nothing");
        let algorithm = asked.headers.get("x-amz-checksum-algorithm");
        if algorithm.is_none_or(|it| it != "SHA256") {
            return refused(400, "InvalidRequest");
        }
        let id = self.leave(path, asked.headers.clone());
        let text = format!(
            "<InitiateMultipartUploadResult><UploadId>{}</UploadId></InitiateMultipartUploadResult>",
            id.replace('&', "&amp;")
        );
        said(200, &[], text)
    }

    /// Begins an upload; its name.
    pub(super) fn leave(&mut self, path: &str, headers: BTreeMap<String, String>) -> String {
        self.versions += 1;
        // Nothing says what is in the name of one.
        let id = format!("u/{}&=", self.versions);
        let upload = Upload {
            path: path.to_owned(),
            headers,
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        id
    }

    /// The upload of this name, which is of this object.
    fn upload(&mut self, path: &str, id: &str) -> Option<&mut Upload> {
        self.uploads.get_mut(id).filter(|it| it.path == path)
    }

    pub(super) fn part(&mut self, path: &str, id: &str, number: &str, asked: &Asked) -> Answered {
        let number: u32 = number.parse().expect("a part has a number");
        if number == 0 || number > PARTS_MAX {
            return refused(400, "InvalidArgument");
        }
        let Some(upload) = self.upload(path, id) else {
            return refused(404, "NoSuchUpload");
        };
        match asked.headers.get("x-amz-checksum-sha256") {
            // What is to be locked has to have one.
            None => return refused(400, "InvalidRequest"),
            Some(it) if *it != checksum(&asked.body) => return refused(400, "BadDigest"),
            Some(_) => {}
        }
        upload.parts.insert(number, asked.body.clone());
        let headers = [
            ("etag", tag(&asked.body)),
            ("x-amz-checksum-sha256", checksum(&asked.body)),
        ];
        said(200, &headers, String::new())
    }

    pub(super) fn complete(&mut self, path: &str, id: &str, asked: &Asked) -> Answered {
        let is_taken = self.objects.contains_key(path);
        let least = self.part_bytes_min;
        let Some(upload) = self.upload(path, id) else {
            return refused(404, "NoSuchUpload");
        };
        if asked.headers.get("if-none-match").is_some_and(|it| it == "*") && is_taken {
            return refused(412, "PreconditionFailed");
        }
        let joined = upload.joined(&String::from_utf8_lossy(&asked.body), least);
        let (body, sum) = match joined {
            Ok(joined) => joined,
            Err(code) => return refused(400, code),
        };
        let mut headers = upload.headers.clone();
        headers.insert("x-amz-checksum-sha256".into(), sum);
        self.uploads.remove(id);
        Answered {
            // It may have kept the connection open with white space.
            body: b"\n  <CompleteMultipartUploadResult></CompleteMultipartUploadResult>".to_vec(),
            ..self.keep(path, body, &headers)
        }
    }

    pub(super) fn abort(&mut self, path: &str, id: &str) -> Answered {
        if self.upload(path, id).is_none() {
            return refused(404, "NoSuchUpload");
        }
        self.uploads.remove(id);
        said(204, &[], String::new())
    }

    /// A page of the uploads whose objects have names that begin as is asked, in the bucket that has this path, in the
    /// order of their names.
    pub(super) fn list(&self, path: &str, query: &BTreeMap<String, String>) -> Answered {
        let known = |name: &str| query.get(name).map_or("", String::as_str);
        let bucket = format!("{path}/");
        let mut found: Vec<(&str, &str)> = self
            .uploads
            .iter()
            .filter_map(|(id, upload)| Some((upload.path.strip_prefix(&bucket)?, id.as_str())))
            .filter(|it| it.0.starts_with(known("prefix")) && *it > (known("key-marker"), known("upload-id-marker")))
            .collect();
        found.sort_unstable();
        let asked: usize = known("max-uploads").parse().expect("it says how many");
        let page = &found[..found.len().min(asked).min(self.listed_max)];
        let is_truncated = page.len() < found.len();
        let mut text = format!("<ListMultipartUploadsResult><IsTruncated>{is_truncated}</IsTruncated>");
        let escaped = |text: &str| text.replace('&', "&amp;");
        if let Some((name, id)) = page.last().filter(|_| is_truncated) {
            text.push_str(&format!(
                "<NextKeyMarker>{name}</NextKeyMarker><NextUploadIdMarker>{}</NextUploadIdMarker>",
                escaped(id)
            ));
        }
        for (name, id) in page {
            text.push_str(&format!(
                "<Upload><Key>{name}</Key><UploadId>{}</UploadId><Initiated>2026-11-27T01:15:30.000Z</Initiated></Upload>",
                escaped(id)
            ));
        }
        text.push_str("</ListMultipartUploadsResult>");
        said(200, &[], text)
    }
}

impl Upload {
    /// The bytes of the parts that a request to complete it names, and what is told as their hash; the code of what is
    /// wrong with it.
    fn joined(&self, text: &str, part_bytes_min: usize) -> Result<(Vec<u8>, String), &'static str> {
        let named: Vec<&str> = text.split("<Part>").skip(1).collect();
        if named.is_empty() {
            return Err("MalformedXML");
        }
        let (mut body, mut hashes, mut last) = (Vec::new(), Vec::new(), 0);
        for (at, it) in named.iter().enumerate() {
            let number: u32 = element(it, "PartNumber").parse().expect("a number");
            if number <= last {
                return Err("InvalidPartOrder");
            }
            last = number;
            let is_named = |bytes: &&Vec<u8>| {
                element(it, "ETag").replace("&quot;", "\"") == tag(bytes)
                    && element(it, "ChecksumSHA256") == checksum(bytes)
            };
            let bytes = self.parts.get(&number).filter(is_named).ok_or("InvalidPart")?;
            if at + 1 < named.len() && bytes.len() < part_bytes_min {
                return Err("EntityTooSmall");
            }
            body.extend_from_slice(bytes);
            hashes.extend_from_slice(&Sha256Hash::of(bytes).0);
        }
        let hash = STANDARD.encode(Sha256Hash::of(&hashes).0);
        Ok((body, format!("{hash}-{}", named.len())))
    }
}
