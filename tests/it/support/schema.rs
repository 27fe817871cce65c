//! A small reader of JSON Schema, to hold answers against the OpenAPI document.

use serde_json::{Value, json};

/// Whether a value is of a schema, with the parts of JSON Schema that the document uses; no field goes undocumented.
pub fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let no = |why: String| Err(format!("{why}: {value} is not {schema}"));
    if let Some(link) = schema["$ref"].as_str() {
        return fits(document, &document["components"]["schemas"][name_of(link)], value);
    }
    if let Some(either) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return if either.iter().any(|schema| fits(document, schema, value).is_ok()) {
            Ok(())
        } else {
            no("none of".into())
        };
    }
    if let Some(all) = schema["allOf"].as_array() {
        let merged = merge(document, all);
        return fits(document, &merged, value);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return no("a schema without a type".into()),
    };
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_whole_number = actual == "integer" && types.contains(&"number");
    if !types.contains(&actual) && !is_whole_number {
        return no(format!("type {actual}"));
    }
    if let Some(items) = value.as_array() {
        return items.iter().try_for_each(|item| fits(document, &schema["items"], item));
    }
    let Some(fields) = value.as_object() else { return Ok(()) };
    for required in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(required.as_str().expect("a name")) {
            return no(format!("{required} missing"));
        }
    }
    for (name, field) in fields {
        let of_field = schema["properties"].get(name).or(schema.get("additionalProperties"));
        match of_field {
            Some(of_field) => fits(document, of_field, field)?,
            None => return no(format!("{name} undocumented")),
        }
    }
    Ok(())
}

/// The object schema that several make together.
fn merge(document: &Value, all: &[Value]) -> Value {
    let mut merged = json!({"type": "object", "properties": {}, "required": []});
    for part in all {
        let part = part["$ref"].as_str().map_or(part, |link| &document["components"]["schemas"][name_of(link)]);
        for (name, schema) in part["properties"].as_object().expect("an object's schema") {
            merged["properties"][name] = schema.clone();
        }
        merged["required"]
            .as_array_mut()
            .expect("a list")
            .extend(part["required"].as_array().cloned().unwrap_or_default());
    }
    merged
}

/// The last part of a link within the document.
fn name_of(link: &str) -> &str {
    link.rsplit('/').next().unwrap_or(link)
}
