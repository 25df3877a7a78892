//! JSON Schemas of values that are text in JSON.

/// Gives a type that is text in JSON its schema: a pattern and what it means.
macro_rules! text {
    ($name:ident, $pattern:expr, $about:expr) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    };
}

pub(crate) use text;
