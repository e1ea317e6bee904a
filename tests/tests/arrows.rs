//! Which part may know of which: the arrows of the architecture, read from the sources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file without its comments and without the tests inside it, which may know everything.
struct Source {
    path: String,
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust sources under a folder of the project, but for `tests.rs` and `tests/`.
fn sources(under: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(under)];
    while let Some(path) = pending.pop() {
        let of_tests = path.file_stem().is_some_and(|name| name == "tests");
        if of_tests {
            continue;
        }
        if path.is_dir() {
            pending.extend(
                fs::read_dir(&path).expect("a folder can be listed").flatten().map(|entry| entry.path()),
            );
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is text");
            found.push(Source { path: path.display().to_string(), code: without_tests_and_comments(&text) });
        }
    }
    assert!(!found.is_empty(), "{under} has sources");
    found
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `path` stands in `code` as a whole, not as the end of a longer name.
fn names(code: &str, path: &str) -> bool {
    let part_of_name = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

/// Asserts that nothing under `under` names any of these, but for the files under `except`.
fn never(under: &str, forbidden: &[&str], except: Option<&str>) {
    let except = except.map(|folder| root().join(folder).display().to_string());
    for source in sources(under) {
        if except.as_ref().is_some_and(|folder| source.path.starts_with(folder)) {
            continue;
        }
        for word in forbidden {
            assert!(!names(&source.code, word), "{} names {word}", source.path);
        }
    }
}

/// The names under which a manifest depends on something, outside its tests.
fn dependencies(crate_folder: &str) -> BTreeSet<String> {
    let manifest =
        fs::read_to_string(root().join(crate_folder).join("Cargo.toml")).expect("a crate has a manifest");
    let section = manifest.split("[dependencies]").nth(1).expect("every crate depends on something");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_state_knows_nothing_of_ours_and_no_clock_no_chance_and_no_unordered_map() {
    never(
        "cluster/src/state",
        &[
            "openraft",
            "raft_log",
            "tokio",
            "tokio_util",
            "actix",
            "actix_web",
            "std::time",
            "std::net",
            "std::fs",
            "std::thread",
            "rand",
            "HashMap",
            "HashSet",
            "Instant",
            "SystemTime",
            "crate::wire",
            "crate::raft",
            "crate::cluster",
            "crate::Cluster",
        ],
        None,
    );
}

#[test]
fn wire_knows_nothing_of_the_state() {
    never(
        "cluster/src/wire",
        &["crate::state", "super::state", "crate::raft", "crate::cluster", "openraft"],
        None,
    );
}

#[test]
fn only_raft_names_openraft_and_its_log() {
    never("cluster/src", &["openraft", "raft_log"], Some("cluster/src/raft"));
    never("node/src", &["openraft", "raft_log"], None);
}

#[test]
fn the_cluster_knows_no_actix_and_nothing_of_the_node() {
    never("cluster/src", &["actix", "actix_web", "actix_rt", "conclave_node", "hyper"], None);
    let dependencies = dependencies("cluster");
    let actix = dependencies.iter().find(|name| name.starts_with("actix") || name.starts_with("conclave"));
    assert_eq!(actix, None);
}

#[test]
fn actors_know_nothing_of_http() {
    never("node/src/actors", &["crate::http", "super::http", "crate::socket", "actix_web"], None);
}

#[test]
fn what_is_under_the_edge_does_not_reach_up() {
    never("cluster/src/raft", &["crate::cluster", "crate::Cluster"], None);
}

#[test]
fn crates_depend_in_one_direction() {
    let ours = |folder: &str| -> Vec<String> {
        dependencies(folder).into_iter().filter(|name| name.starts_with("conclave-")).collect()
    };
    assert_eq!(ours("cluster"), [""; 0]);
    // How a binary frame looks is known to both ends of a socket, and the crate that says it knows neither.
    let either = |crates: Vec<String>, required: &[&str]| {
        let rest: Vec<_> = crates.into_iter().filter(|name| name != "conclave-sigma").collect();
        assert_eq!(rest, required);
    };
    assert_eq!(ours("node/sigma"), [""; 0]);
    either(ours("node"), &["conclave-cluster"]);
    either(ours("client-sim"), &[]);
    never("client-sim/src", &["conclave_cluster", "conclave_node"], None);
}

#[test]
fn only_generated_code_may_be_unsafe() {
    let all = ["cluster", "node", "client-sim"].into_iter().flat_map(sources);
    // As code has it, with a blank behind; a content policy's word is none.
    let holding: Vec<_> =
        all.filter(|source| source.code.contains("unsafe ")).map(|source| source.path).collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    assert!(holding[0].ends_with("node/sigma/src/sigma_sockets_generated.rs"), "{holding:?}");
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let code: BTreeSet<String> = ["cluster/src", "node/src"]
        .iter()
        .flat_map(|folder| sources(folder))
        .flat_map(|source| metrics(&source.code, '"'))
        .collect();
    let text = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md lists the metrics");
    let docs: BTreeSet<String> = metrics(&text, '`').into_iter().collect();
    // A name that the code completes as it runs stands for all that begin like it.
    let means = |name: &str, documented: &str| match name.ends_with('_') {
        true => documented.starts_with(name),
        false => documented == name,
    };
    let undocumented: Vec<_> =
        code.iter().filter(|name| !docs.iter().any(|other| means(name, other))).collect();
    let invented: Vec<_> = docs.iter().filter(|other| !code.iter().any(|name| means(name, other))).collect();
    assert!(undocumented.is_empty(), "not in docs/metrics.md: {undocumented:?}");
    assert!(invented.is_empty(), "only in docs/metrics.md: {invented:?}");
    assert!(!code.is_empty(), "there are metrics");
}

/// All names that begin like a metric of ours and stand between two `quote`s, up to the first brace.
fn metrics(text: &str, quote: char) -> Vec<String> {
    const CRATES: [&str; 4] = ["conclave_cluster", "conclave_node", "conclave_client_sim", "conclave_tests"];
    let opening = format!("{quote}conclave_");
    text.match_indices(&opening)
        .filter_map(|(at, _)| {
            let rest = &text[at + quote.len_utf8()..];
            let end =
                rest.find(|char: char| !(char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_'))?;
            let closed = rest[end..].starts_with([quote, '{']);
            (closed && !CRATES.contains(&&rest[..end])).then(|| rest[..end].to_owned())
        })
        .collect()
}

#[test]
fn a_name_is_found_whole_or_not_at_all() {
    assert!(names("use std::time::Duration;", "std::time"));
    assert!(names("let map: HashMap<u8, u8>;", "HashMap"));
    assert!(!names("let operand = brand;", "rand"));
    assert!(!names("expand(random)", "rand"));
    assert_eq!(metrics("counter!(\"conclave_x_total\")", '"'), ["conclave_x_total"]);
    assert_eq!(metrics("`conclave_y{tier}` and `conclave_cluster`", '`'), ["conclave_y"]);
}

#[test]
fn admission_knows_no_transport() {
    never(
        "node/src/admission",
        &["actix", "actix_web", "crate::http", "crate::socket", "crate::listener", "crate::actors"],
        None,
    );
}

#[test]
fn sockets_know_nothing_of_http_handlers() {
    never("node/src/socket", &["crate::http"], None);
}

#[test]
fn services_know_no_transport() {
    never(
        "node/src/service",
        &["actix_web", "crate::http", "crate::socket", "crate::listener", "crate::admin"],
        None,
    );
}

/// Which folders of a crate name which others, by `crate::` paths.
fn folders(of_crate: &str) -> BTreeMap<String, BTreeSet<String>> {
    let home = root().join(of_crate).join("src").display().to_string();
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&format!("{of_crate}/src")) {
        let inside = source.path.trim_start_matches(&home).trim_start_matches('/');
        let folder = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        for (at, path) in source.code.match_indices("crate::") {
            let other =
                source.code[at + path.len()..].split(|char: char| !char.is_alphanumeric() && char != '_');
            let other = other.into_iter().next().unwrap_or_default().to_owned();
            let is_module = other.starts_with(|char: char| char.is_lowercase());
            if is_module && other != folder {
                named.entry(folder.clone()).or_default().insert(other);
            }
        }
    }
    named
}

/// A way from a folder back to itself, if there is one.
fn circle(named: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut ways: Vec<Vec<String>> = named.keys().map(|folder| vec![folder.clone()]).collect();
    while let Some(way) = ways.pop() {
        for other in way.last().and_then(|last| named.get(last)).into_iter().flatten() {
            if *other == way[0] {
                return Some(way);
            }
            if !way.contains(other) {
                ways.push([way.as_slice(), std::slice::from_ref(other)].concat());
            }
        }
    }
    None
}

#[test]
fn no_folder_knows_itself_by_way_of_others() {
    for of_crate in ["cluster", "node", "client-sim"] {
        let named = folders(of_crate);
        assert!(named.len() > 1, "{of_crate}: {named:?}");
        assert_eq!(circle(&named), None, "{of_crate}");
    }
}

#[test]
fn a_circle_is_found() {
    let named = |arrows: &[(&str, &str)]| {
        let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in arrows {
            named.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        named
    };
    assert_eq!(circle(&named(&[("http", "service"), ("socket", "service"), ("http", "socket")])), None);
    assert!(circle(&named(&[("http", "socket"), ("socket", "http")])).is_some());
    assert!(circle(&named(&[("a", "b"), ("b", "c"), ("c", "a"), ("x", "a")])).is_some());
}
