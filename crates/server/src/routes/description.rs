//! The description of the API: for programs, and as a page for people.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

use super::table;
use crate::openapi;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| openapi::document(&table().operations));

/// What the page may load: nothing, and its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --faint: #777; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem; max-width: 60rem; }
h1 { margin: 0; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.1rem; } h3 { margin: 1rem 0 .25rem; font-size: .95rem; }
h2 code { font-size: 1rem; } .post { color: #b45309; } .get { color: #15803d; }
nav { columns: 20rem; margin: 1rem 0; font-size: .9rem; } nav a { display: block; text-decoration: none; color: inherit; }
nav a:hover, nav a:focus { text-decoration: underline; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
td:first-child, td:nth-child(2) { white-space: nowrap; } p { margin: .25rem 0; } .faint { color: var(--faint); }
details { margin: .5rem 0; } summary { cursor: pointer; } code { font: .9em ui-monospace, monospace; }
@media (max-width: 40rem) { td:first-child, td:nth-child(2) { white-space: normal; overflow-wrap: anywhere; } }
";

/// The description as OpenAPI 3.1.
pub(crate) async fn document() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The description as a page.
pub(crate) async fn page() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| write_page(&DOCUMENT));
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE.as_str())).into_response()
}

fn write_page(document: &Value) -> String {
    let mut nav = String::new();
    let mut sections = String::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let (id, summary) = (text(&operation["operationId"]), text(&operation["summary"]));
            let name = format!(
                "<span class={method}>{}</span> <code>{}</code>",
                method.to_uppercase(),
                escaped(path)
            );
            let _ = writeln!(nav, "<a href=\"#{id}\">{name}</a>");
            let who = escaped(text(&operation["description"]));
            let _ = writeln!(
                sections,
                "<section><h2 id=\"{id}\">{name}</h2><p>{}. <span class=faint>{who}</span></p>",
                escaped(summary)
            );
            parameters(&mut sections, &operation["parameters"]);
            if let Some(body) = operation["requestBody"]["content"].as_object() {
                let about = text(&operation["requestBody"]["description"]);
                contents(&mut sections, "Request", about, body);
            }
            for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
                if let Some(content) = answer["content"].as_object() {
                    contents(&mut sections, &format!("Answer {status}"), "", content);
                }
            }
            sections.push_str("</section>\n");
        }
    }
    let mut schemas = String::new();
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = writeln!(
            schemas,
            "<h3 id=\"schema-{name}\"><code>{name}</code></h3><p>{}</p>",
            about(schema)
        );
        fields(&mut schemas, schema);
    }
    let info = &document["info"];
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Staunch API</title><style>{STYLE}</style><h1>Staunch API</h1><p>{}</p>\
         <p class=faint>For programs: <a href=\"openapi.json\">openapi.json</a> (OpenAPI 3.1). Problems are answered as \
         <a href=\"#schema-Problem\"><code>Problem</code></a>.</p>\
         <nav aria-label=Operations>{nav}</nav>{sections}<h2>Schemas</h2>{schemas}",
        code_marked(text(&info["description"]))
    )
}

fn parameters(page: &mut String, parameters: &Value) {
    let Some(all) = parameters.as_array().filter(|all| !all.is_empty()) else {
        return;
    };
    page.push_str("<table><tr><th>Parameter<th>Type<th>Meaning");
    for it in all {
        let required = if it["required"] == true {
            ""
        } else {
            " <span class=faint>optional</span>"
        };
        let _ = write!(
            page,
            "<tr><td><code>{}</code> <span class=faint>{}</span><td>{}{required}<td>{}",
            escaped(text(&it["name"])),
            text(&it["in"]),
            kind(&it["schema"]),
            code_marked(text(&it["description"]))
        );
    }
    page.push_str("</table>\n");
}

fn contents(page: &mut String, title: &str, about: &str, content: &serde_json::Map<String, Value>) {
    for (media, it) in content {
        let schema = &it["schema"];
        let schema = schema.get("contentSchema").unwrap_or(schema);
        let _ = writeln!(
            page,
            "<p>{title}: {} <span class=faint>{}</span> {}</p>",
            kind(schema),
            escaped(media),
            escaped(about)
        );
    }
}

/// The fields of an object, or the values of a choice.
fn fields(page: &mut String, schema: &Value) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(properties) = schema["properties"].as_object().filter(|it| !it.is_empty()) else {
        let _ = writeln!(page, "<p>{}</p>", kind(schema));
        return;
    };
    page.push_str("<table><tr><th>Field<th>Type<th>Meaning");
    for (name, field) in properties {
        let optional = if required.contains(&name.as_str()) {
            ""
        } else {
            " <span class=faint>optional</span>"
        };
        let _ = write!(
            page,
            "<tr><td><code>{}</code>{optional}<td>{}<td>{}",
            escaped(name),
            kind(field),
            about(field)
        );
    }
    page.push_str("</table>\n");
}

fn about(schema: &Value) -> String {
    code_marked(text(&schema["description"]))
}

/// The type of a schema in a few words, as HTML.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
        return format!("<a href=\"#schema-{name}\"><code>{name}</code></a>");
    }
    if let Some(value) = schema.get("const") {
        return format!("<code>{}</code>", escaped(&value.to_string()));
    }
    let list =
        |values: &[Value], each: &dyn Fn(&Value) -> String| values.iter().map(each).collect::<Vec<_>>().join(" or ");
    for choice in ["anyOf", "oneOf"] {
        if let Some(values) = schema[choice].as_array() {
            return list(values, &|it| kind(it));
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return list(values, &|it| format!("<code>{}</code>", escaped(&it.to_string())));
    }
    match &schema["type"] {
        Value::String(it) if it == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(it) if it == "object" => match schema["properties"].as_object() {
            Some(properties) => {
                let inside = properties
                    .iter()
                    .map(|(name, it)| format!("<code>{}</code>: {}", escaped(name), kind(it)));
                format!("{{ {} }}", inside.collect::<Vec<_>>().join(", "))
            }
            None => "object".to_owned(),
        },
        Value::String(it) => escaped(it),
        Value::Array(types) => list(types, &|it| match it.as_str() {
            Some("array") => format!("list of {}", kind(&schema["items"])),
            Some(it) => escaped(it),
            None => String::new(),
        }),
        _ => "anything".to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// `text` escaped, with what is between backticks as code.
fn code_marked(text: &str) -> String {
    let mut html = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = escaped(part);
        if at % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}
