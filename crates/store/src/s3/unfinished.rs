//! Uploads in parts that have begun and did not end: named, and aborted.
//!
//! Never aborts what is not named as ours. A part that is on its way meanwhile may stay: the next look finds it.

use std::time::Instant;

use staunch_model::{Failure, Timestamp};

use super::answered::{element, refusal, text_within, unescaped};
use super::{Bucket, Payload, soon};

/// The most pages of a list that are read, of 1,000 uploads each.
const PAGES_MAX: usize = 10;

/// The most bytes of a page.
const PAGE_BYTES_MAX: u64 = 2 << 20;

/// An upload that has begun, and did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// What the object is to be called.
    pub name: String,
    /// The name of the upload.
    pub id: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// Those that a bucket lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfinishedList {
    /// The first of them.
    pub uploads: Vec<Unfinished>,
    /// Whether there are more than are looked at.
    pub is_cut: bool,
}

impl Bucket {
    /// The uploads of objects whose names begin so, and are ours.
    pub(crate) fn unfinished(
        &self,
        beginning: &str,
        is_ours: &dyn Fn(&str) -> bool,
        by: Instant,
    ) -> Result<UnfinishedList, Failure> {
        let settings = self.settings();
        let before = settings.base.strip_prefix(&settings.bucket_in_path).unwrap_or_default();
        let before = match before.trim_matches('/') {
            "" => String::new(),
            before => format!("{before}/"),
        };
        let prefix = format!("{before}{beginning}");
        let mut found = UnfinishedList::default();
        let mut after: Option<(String, String)> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploads", ""), ("max-uploads", "1000"), ("prefix", &*prefix)];
            if let Some((name, id)) = &after {
                query.extend([("key-marker", &**name), ("upload-id-marker", &**id)]);
            }
            let mut answer = self.ask_bucket(&query, by)?;
            if answer.status != 200 {
                return Err(refusal(&mut answer, "list the uploads in parts that did not end"));
            }
            let text = text_within(&mut answer, PAGE_BYTES_MAX)?;
            found
                .uploads
                .extend(uploads_in(&text, &before).filter(|it| is_ours(&it.name)));
            let marker = |name: &str| {
                element(&text, name)
                    .map(|it| unescaped(&it))
                    .filter(|it| !it.is_empty())
            };
            found.is_cut = element(&text, "IsTruncated").is_some_and(|it| it == "true");
            after = marker("NextKeyMarker").zip(marker("NextUploadIdMarker"));
            if !found.is_cut || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Aborts them all. Returns how many there were; the first failure, when there is one.
    pub(crate) fn abort_unfinished(
        &self,
        beginning: &str,
        is_ours: &dyn Fn(&str) -> bool,
        by: Instant,
    ) -> Result<usize, Failure> {
        let found = self.unfinished(beginning, is_ours, by)?;
        if found.is_cut {
            tracing::warn!(
                ours = found.uploads.len(),
                "the bucket has more uploads in parts that did not end than are looked at; have a rule of it abort the others"
            );
        }
        let mut first = Ok(found.uploads.len());
        for it in &found.uploads {
            let aborted = self.abort(&it.name, &it.id, by);
            first = first.and_then(|count| aborted.map(|()| count));
        }
        first
    }

    /// Aborts an upload. One that is not there any more is.
    pub(super) fn abort(&self, name: &str, id: &str, by: Instant) -> Result<(), Failure> {
        let mut answer = self.ask("DELETE", name, &[("uploadId", id)], &[], Payload::Empty, soon(by))?;
        match answer.status {
            200..=299 | 404 => Ok(()),
            _ => Err(refusal(&mut answer, &format!("abort an upload of {name}"))),
        }
    }
}

/// The uploads in a page of a list. What stands before the names of our objects is taken from them.
fn uploads_in<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = Unfinished> + 't {
    text.split("<Upload>").skip(1).filter_map(move |it| {
        let (it, _) = it.split_once("</Upload>")?;
        let key = unescaped(&element(it, "Key")?);
        Some(Unfinished {
            name: key.strip_prefix(before)?.to_owned(),
            id: unescaped(&element(it, "UploadId")?),
            since: element(it, "Initiated").and_then(|it| it.parse().ok()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_cut_off_names_what_is_whole_in_it() {
        let one = "<Upload><Key>pre/a&amp;b</Key><UploadId>u-1</UploadId><Initiated>2026-11-27T01:15:30.000Z</Initiated>\
                   </Upload>";
        let page =
            format!("<R>{one}<Upload><Key>other/c</Key><UploadId>u-2</UploadId></Upload><Upload><Key>pre/d</Key>");
        let found: Vec<Unfinished> = uploads_in(&page, "pre/").collect();
        let expected = Unfinished {
            name: "a&b".into(),
            id: "u-1".into(),
            since: "2026-11-27T01:15:30Z".parse().ok(),
        };
        assert!(expected.since.is_some());
        assert_eq!(found, [expected]);
    }
}
