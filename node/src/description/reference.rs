//! A document as a page: one file, without scripts and without anything from elsewhere.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::openapi::OpenApi;

const STYLE: &str = include_str!("reference.css");
const ICON: &[u8] = include_bytes!("../../web/icon.svg");

/// The page of a document, and the content security policy that it is sent with.
pub(crate) struct Reference {
    pub(crate) page: String,
    pub(crate) policy: String,
}

impl Reference {
    /// Makes it.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let style = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        let document = serde_json::to_value(document).expect("a document is JSON");
        let mut page = String::with_capacity(128 << 10);
        Page { document: &document, page: &mut page }.write();
        Self { page, policy }
    }
}

/// A page that is being written.
struct Page<'a> {
    document: &'a Value,
    page: &'a mut String,
}

impl Page<'_> {
    fn write(mut self) {
        let info = &self.document["info"];
        let (title, version) = (text(&info["title"]), text(&info["version"]));
        let icon = STANDARD.encode(ICON);
        self.push(&format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
             content=\"width=device-width, initial-scale=1\"><title>{title}: reference</title>\
             <link rel=icon href=\"data:image/svg+xml;base64,{icon}\"><style>{STYLE}</style><main><h1>{title}</h1><p>Version {version} of the API.</p>"
        ));
        self.prose(&info["description"]);
        let tags: Vec<&Value> = self.document["tags"].as_array().into_iter().flatten().collect();
        self.push("<nav aria-label=Parts><ul>");
        for tag in &tags {
            let name = text(&tag["name"]);
            self.push(&format!("<li><a href=\"#{name}\">{name}</a>"));
        }
        self.push("<li><a href=\"#schemas\">schemas</a></ul></nav>");
        for tag in tags {
            self.part(tag);
        }
        self.push("<section id=schemas><h2>schemas</h2>");
        for (name, schema) in object(&self.document["components"]["schemas"]) {
            let name = escaped(name);
            self.push(&format!("<article id=\"schema-{name}\"><h3>{name}</h3>"));
            self.schema(schema);
            self.push("</article>");
        }
        self.push("</section></main></html>");
    }

    fn part(&mut self, tag: &Value) {
        let name = text(&tag["name"]);
        self.push(&format!("<section id=\"{name}\"><h2>{name}</h2>"));
        self.prose(&tag["description"]);
        for (path, item) in object(&self.document["paths"]) {
            for (method, operation) in object(item) {
                if operation["tags"].as_array().is_some_and(|tags| tags.contains(&tag["name"])) {
                    self.operation(path, method, operation);
                }
            }
        }
        self.push("</section>");
    }

    fn operation(&mut self, path: &str, method: &str, operation: &Value) {
        let (method, path) = (escaped(&method.to_uppercase()), escaped(path));
        let id = text(&operation["operationId"]);
        self.push(&format!("<details id=\"{id}\"><summary><b>{method}</b> <code>{path}</code> <span>"));
        self.inline(&operation["summary"]);
        self.push("</span></summary>");
        self.prose(&operation["description"]);
        let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
        if !parameters.is_empty() {
            self.push("<h3>Parameters</h3><table><thead><tr><th>name<th>in<th>what<tbody>");
            for parameter in parameters {
                let name = text(&parameter["name"]);
                let must = if parameter["required"] == true { "<b>required</b> " } else { "" };
                self.push(&format!("<tr><td><code>{name}</code><td>{}<td>{must}", text(&parameter["in"])));
                self.inline(&parameter["description"]);
                self.aside(&parameter["schema"]);
            }
            self.push("</table>");
        }
        if let Some(body) = operation.get("requestBody") {
            self.push("<h3>Body</h3>");
            self.prose(&body["description"]);
            self.content(&body["content"]);
        }
        self.push("<h3>Answers</h3><table><thead><tr><th>status<th>what<tbody>");
        for (status, response) in object(&operation["responses"]) {
            self.push(&format!("<tr><td>{}<td>", escaped(status)));
            self.inline(&response["description"]);
            if status.as_str() < "400" {
                self.content(&response["content"]);
            }
        }
        self.push("</table></details>");
    }

    fn content(&mut self, content: &Value) {
        for (media, content) in object(content) {
            self.push(&format!("<p><code>{}</code> ", escaped(media)));
            self.kind(&content["schema"]);
            for (name, example) in object(&content["examples"]) {
                let value = serde_json::to_string(&example["value"]).unwrap_or_default();
                self.push(&format!("<p>{}: <code>{}</code>", escaped(name), escaped(&value)));
            }
        }
    }

    fn schema(&mut self, schema: &Value) {
        self.prose(&schema["description"]);
        let must: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = object(&schema["properties"]);
        if properties.is_empty() {
            self.push("<p>");
            self.kind(schema);
            return;
        }
        self.push("<table><thead><tr><th>field<th>what<tbody>");
        for (name, property) in properties {
            let required = if must.contains(&name.as_str()) { "<b>required</b> " } else { "" };
            self.push(&format!("<tr><td><code>{}</code><td>{required}", escaped(name)));
            self.inline(&property["description"]);
            self.aside(property);
        }
        self.push("</table>");
    }

    /// What a value is, behind what it is for.
    fn aside(&mut self, schema: &Value) {
        self.push(" <span>");
        self.kind(schema);
        self.push("</span>");
    }

    /// What a value is, in a few words.
    fn kind(&mut self, schema: &Value) {
        if let Some(name) = schema["$ref"].as_str().and_then(|at| at.rsplit('/').next()) {
            let name = escaped(name);
            self.push(&format!("<a href=\"#schema-{name}\">{name}</a>"));
            return;
        }
        for choice in ["oneOf", "anyOf"] {
            for (number, one) in schema[choice].as_array().into_iter().flatten().enumerate() {
                self.push(if number == 0 { "" } else { " or " });
                self.kind(one);
            }
        }
        let mut words = match &schema["type"] {
            Value::String(kind) => escaped(kind),
            Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
            _ => String::new(),
        };
        for (name, word) in [
            ("minimum", "at least"),
            ("maximum", "at most"),
            ("minLength", "of at least"),
            ("maxLength", "of at most"),
        ] {
            if let Some(bound) = schema[name].as_f64() {
                let _ = write!(words, ", {word} {bound}");
            }
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let _ = write!(words, " <code>{}</code>", escaped(pattern));
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<String> = values.iter().map(|value| escaped(&value.to_string())).collect();
            let _ = write!(words, " <code>{}</code>", values.join(" | "));
        }
        self.push(&words);
        if !schema["items"].is_null() {
            self.push(" of ");
            self.kind(&schema["items"]);
        }
    }

    /// A description as a paragraph.
    fn prose(&mut self, description: &Value) {
        if description.as_str().is_some_and(|text| !text.is_empty()) {
            self.push("<p>");
            self.inline(description);
            self.push("</p>");
        }
    }

    /// A description: what stands between backticks is code.
    fn inline(&mut self, description: &Value) {
        for (number, piece) in description.as_str().unwrap_or_default().split('`').enumerate() {
            let piece = escaped(piece);
            self.push(&if number % 2 == 0 { piece } else { format!("<code>{piece}</code>") });
        }
    }

    fn push(&mut self, html: &str) {
        self.page.push_str(html);
    }
}

fn object(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().into_iter().flatten().collect()
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::path::{OperationBuilder, PathItem};
    use utoipa::openapi::tag::TagBuilder;
    use utoipa::openapi::{HttpMethod, InfoBuilder, OpenApiBuilder, PathsBuilder, ResponseBuilder};

    use super::*;

    #[test]
    fn what_stands_in_a_document_is_text_on_the_page() {
        let answer = ResponseBuilder::new().description("`a` < b").build();
        let operation = OperationBuilder::new()
            .tag("part")
            .operation_id(Some("ask"))
            .summary(Some("<script>"))
            .response("404", answer);
        let document = OpenApiBuilder::new()
            .info(InfoBuilder::new().title("T & U").version("1"))
            .tags(Some([TagBuilder::new().name("part").build()]))
            .paths(PathsBuilder::new().path("/a/{id}", PathItem::new(HttpMethod::Get, operation)))
            .build();
        let Reference { page, policy } = Reference::of(&document);
        assert!(page.contains("<title>T &amp; U: reference</title>"));
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
        assert!(page.contains("<code>a</code> &lt; b"));
        assert!(page.contains("<b>GET</b> <code>/a/{id}</code>"));
        assert!(policy.contains("style-src 'sha256-") && policy.contains("; img-src data:;"));
        assert!(page.contains("<link rel=icon href=\"data:"), "nothing is asked for that is not there");
        assert!(page.contains("<h2>part</h2>") && page.contains("<h3>Answers</h3>"));
        assert!(!page.contains("<h4"), "no heading is left out between them");
    }
}
