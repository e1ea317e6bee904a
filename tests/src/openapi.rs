//! What the OpenAPI document says that there is.

use serde_json::Value;

/// Methods, in capital letters, and the paths that they are for.
pub fn endpoints() -> Vec<(String, String)> {
    let document: Value =
        serde_json::from_str(include_str!("../../docs/openapi.json")).expect("the document is JSON");
    let paths = document["paths"].as_object().expect("a document has paths");
    let methods = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("a path has methods").keys();
        methods.map(move |method| (method.to_uppercase(), path.clone()))
    });
    methods.collect()
}
