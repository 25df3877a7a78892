//! The description of the API as OpenAPI 3.1, made of the same table that requests are routed by.

use std::collections::BTreeMap;

use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use staunch_model::IncidentId;

use crate::api::{Answers, Carries, Operation};
use crate::app::{is_open, right_of};
use crate::auth::Role;
use crate::dto::{INDEX_LAG_HEADER, INDEX_TROUBLE_HEADER, PROBLEM_TYPE, Problem};

/// Where schemas are that others refer to.
const DEFINITIONS: &str = "/components/schemas";

/// The description of `operations`.
pub(crate) fn document(operations: &[Operation]) -> Value {
    // What is sent may leave out what has a default; what is answered has it.
    let settings = || SchemaSettings::draft2020_12().with(|it| it.definitions_path = DEFINITIONS.into());
    let mut requests = settings().for_deserialize().into_generator();
    let mut answers = settings().for_serialize().into_generator();
    let problem = answers.subschema_for::<Problem>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let described = describe(operation, &mut requests, &mut answers);
        let path = paths.entry(&operation.path).or_default();
        path.insert(operation.method.as_str().to_lowercase(), described);
    }
    let mut schemas = requests.take_definitions(true);
    for (name, schema) in answers.take_definitions(true) {
        let other = schemas.insert(name.clone(), schema);
        debug_assert!(
            other.is_none_or(|other| other == schemas[&name]),
            "{name} is sent and answered in two forms"
        );
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Staunch",
            "version": "v1",
            "summary": "Contains incidents with safety transactions that can always be undone.",
            "description": "Ids are text such as `INC-17`, times are RFC 3339 in UTC, lengths of time are text such as \
                `1h30m`. Text that came from outside is as it came: escape it before it is shown. Answers to `GET` in \
                JSON carry an `ETag`; a request that names it in `If-None-Match` is answered with 304 while the answer is the \
                same. The tag leaves out what time it is (`now`, `uptime`), and is weak then.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "security": [{ "token": [] }, { "certificate": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made with `staunch token create`."
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "One that `[[http.tls.clients]]` names."
                }
            },
            "responses": {
                "problem": {
                    "description": "It was not carried out, and why (RFC 9457).",
                    "content": { PROBLEM_TYPE: { "schema": problem } }
                }
            }
        }
    });
    without_links(&mut document);
    document
}

/// Has descriptions, which are doc comments of the code, name what they link to: `` [`Commands::next`] `` is `` `next`
/// ``.
fn without_links(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "description" => *text = without_links_in(text),
                    _ => without_links(value),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(without_links),
        _ => {}
    }
}

fn without_links_in(text: &str) -> String {
    let plain = text.replace("[`", "`").replace("`]", "`");
    let parts = plain.split('`').enumerate();
    let named = parts.map(|(at, part)| match part.rsplit_once("::") {
        Some((_, name)) if at % 2 == 1 => name,
        _ => part,
    });
    named.collect::<Vec<_>>().join("`")
}

fn describe(operation: &Operation, requests: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
    let mut parameters = path_parameters(operation, requests);
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(requests)));
    }
    let content = match operation.answers {
        Answers::Json(schema) => json!({ "application/json": { "schema": schema(answers) } }),
        Answers::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        Answers::Stream(schema) => json!({
            "text/event-stream": { "schema": { "type": "string", "contentSchema": schema(answers) } }
        }),
    };
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": who(operation),
        "parameters": parameters,
        "responses": {
            operation.status.to_string(): { "description": "All is well.", "headers": headers(operation), "content": content },
            "default": { "$ref": "#/components/responses/problem" }
        }
    });
    if is_open(&operation.path) {
        described["security"] = json!([]);
    }
    match operation.carries {
        Carries::Nothing => {}
        Carries::Json(schema) => {
            let content = json!({ "application/json": { "schema": schema(requests) } });
            described["requestBody"] = json!({ "required": true, "content": content });
        }
        Carries::Events => {
            described["requestBody"] = json!({
                "required": false,
                "description": "Events as their system sends them: one, an array, or one a line; plain, gzip or zstd. Of \
                                a body with more than 10,000, none is taken (413, `too-many`); a plan is of the first.",
                "content": {
                    "application/json": { "schema": { "anyOf": [{ "type": "object" }, { "type": "array", "items": { "type": "object" } }] } },
                    "application/x-ndjson": { "schema": { "type": "string" } }
                }
            });
        }
    }
    described
}

/// Whose requests are carried out.
fn who(operation: &Operation) -> String {
    if is_open(&operation.path) {
        return "Needs no token.".to_owned();
    }
    let right = right_of(&operation.method, &operation.path);
    let roles: Vec<&str> = Role::ALL
        .iter()
        .filter(|role| role.has(right))
        .map(|role| role.name())
        .collect();
    format!("For tokens with the role {}.", roles.join(", "))
}

fn path_parameters(operation: &Operation, requests: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters = Vec::new();
    let mut add = |name: &str, about: &str, schema: Value| {
        if operation.path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": about, "schema": schema
            }));
        }
    };
    add(
        "source",
        "The system that the events come from.",
        json!({ "type": "string", "pattern": "^[a-z][a-z0-9_-]{0,31}$", "examples": ["suricata"] }),
    );
    let id = requests.subschema_for::<IncidentId>();
    add("id", "The incident.", id.to_value());
    parameters
}

/// The parameters that an object of `schema` stands for.
fn query_parameters(schema: &Schema) -> Vec<Value> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let about = schema
                .as_object_mut()
                .and_then(|it| it.remove("description"))
                .unwrap_or_default();
            json!({
                "name": name, "in": "query", "required": required.contains(&name.as_str()), "description": about,
                "schema": never_null(schema)
            })
        })
        .collect()
}

/// `schema` without null, which a query string cannot say.
fn never_null(mut schema: Value) -> Value {
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    map.remove("default");
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|it| it != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            map.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(any)) = map.get_mut("anyOf") {
        any.retain(|it| it["type"] != "null");
        if let [one] = any.as_slice() {
            return one.clone();
        }
    }
    schema
}

fn headers(operation: &Operation) -> Value {
    let text = json!({ "type": "string" });
    match operation.answers {
        Answers::Json(_) if operation.method == axum::http::Method::GET => json!({
            "ETag": { "description": "What this answer is; changes with it.", "schema": text },
            INDEX_LAG_HEADER: {
                "description": "Of answers from the index: how many frames it is behind the journal.",
                "schema": { "type": "integer" }
            },
            INDEX_TROUBLE_HEADER: {
                "description": "Of answers from the index: why frames cannot be entered into it, while that is so.",
                "schema": text
            }
        }),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_code_become_names() {
        assert_eq!(
            without_links_in("See [`Commands::next`] and `a::b`: x::y."),
            "See `next` and `b`: x::y."
        );
    }

    #[test]
    fn a_query_cannot_say_null() {
        let cases = [
            (json!({ "type": ["string", "null"] }), json!({ "type": "string" })),
            (
                json!({ "anyOf": [{ "$ref": "#/x" }, { "type": "null" }] }),
                json!({ "$ref": "#/x" }),
            ),
            (
                json!({ "type": "integer", "default": null }),
                json!({ "type": "integer" }),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(never_null(schema), expected);
        }
    }
}
