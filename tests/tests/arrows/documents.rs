//! What documents name is there.

use std::fs;
use std::path::PathBuf;

use super::root;

/// All Markdown files of a folder of the project.
fn documents(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(root().join(folder)).expect("the folder is there");
    let paths = files.map(|file| file.expect("it can be read").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The test that a name such as `contract::relay::a_chunk_is_sent` stands for: where it is, and what is called so. Nothing if
/// it is no such name.
fn test_of(name: &str) -> Option<(String, Option<&str>)> {
    let parts: Vec<&str> = name.split("::").collect();
    let (file, rest) = match parts[..] {
        ["deploy", ref rest @ ..] if rest.len() == 1 => ("deploy.rs".to_owned(), rest),
        [kind @ ("contract" | "failure" | "deploy"), module, ref rest @ ..]
            if !["*", "…"].contains(&module) =>
        {
            (format!("{kind}/{module}.rs"), rest)
        }
        _ => return None,
    };
    let called = rest.first().copied().filter(|called| *called != "*");
    Some((file, called))
}

#[test]
fn tests_that_documents_name_are_there() {
    let tests = root().join("tests/tests");
    let (mut named, mut missing) = (0, Vec::new());
    for path in [documents("docs"), documents("docs/adr")].concat() {
        let text = fs::read_to_string(&path).expect("a document can be read");
        for name in text.split('`').skip(1).step_by(2) {
            let name = name.split_whitespace().collect::<String>();
            let Some((file, called)) = test_of(&name) else { continue };
            named += 1;
            let source = fs::read_to_string(tests.join(&file)).unwrap_or_default();
            let is_there =
                called.map_or(!source.is_empty(), |called| source.contains(&format!("fn {called}(")));
            if !is_there {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 100, "documents name tests: {named}");
}
