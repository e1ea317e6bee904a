//! Which part may know which: the arrows of the architecture, read from the syntax of the sources.

mod documents;
mod imports;
mod names;
mod planted;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use imports::Source;

/// Our crates: the folder of each, and whether `crate::` in it means a crate that has a library.
const CRATES: [&str; 4] = ["cluster", "node", "client-sim/client", "client-sim"];

/// Who may not name what.
struct Never {
    crate_folder: &'static str,
    /// The module that may not, with all below it.
    module: &'static str,
    names: &'static [&'static str],
    /// A module below it that may.
    except: Option<&'static str>,
}

const fn never(crate_folder: &'static str, module: &'static str, names: &'static [&'static str]) -> Never {
    Never { crate_folder, module, names, except: None }
}

/// transport → service → actors → cluster; edge → admission ← service; within the cluster handle → raft → state, wire.
const RULES: &[Never] = &[
    never(
        "cluster",
        "crate::state",
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
            "crate::handle",
            "crate::Cluster",
        ],
    ),
    never(
        "cluster",
        "crate::wire",
        &["crate::state", "crate::raft", "crate::handle", "crate::Cluster", "openraft"],
    ),
    never("cluster", "crate::raft", &["crate::handle", "crate::Cluster"]),
    Never { except: Some("crate::raft"), ..never("cluster", "crate", &["openraft", "raft_log"]) },
    never("cluster", "crate", &["actix", "actix_web", "actix_rt", "conclave_node", "hyper"]),
    // What is asked of the state is a query; nothing above the cluster looks at the state itself.
    never("node", "crate", &["openraft", "raft_log", "conclave_cluster::state::State"]),
    never(
        "node",
        "crate::service",
        &["actix_web", "crate::transport", "crate::listener", "crate::admin", "crate::serve"],
    ),
    never(
        "node",
        "crate::actors",
        &["actix_web", "crate::transport", "crate::service", "crate::listener", "crate::admission"],
    ),
    never(
        "node",
        "crate::admission",
        &["actix", "actix_web", "crate::transport", "crate::listener", "crate::actors", "crate::service"],
    ),
    never("node", "crate::listener", &["crate::transport", "crate::service", "crate::actors"]),
    // The transports do not know one another, nor what all requests pass; what they share knows none of them.
    never(
        "node",
        "crate::transport::http",
        &["crate::transport::sse", "crate::transport::ws", "crate::transport::pipeline"],
    ),
    never(
        "node",
        "crate::transport::sse",
        &["crate::transport::http", "crate::transport::ws", "crate::transport::pipeline"],
    ),
    never(
        "node",
        "crate::transport::ws",
        &["crate::transport::http", "crate::transport::sse", "crate::transport::pipeline"],
    ),
    never(
        "node",
        "crate::transport::request",
        &[
            "crate::transport::http",
            "crate::transport::sse",
            "crate::transport::ws",
            "crate::transport::pipeline",
        ],
    ),
    never(
        "node",
        "crate::transport",
        &["crate::admin", "crate::serve", "crate::config", "crate::cli", "crate::dev"],
    ),
    never(
        "node",
        "crate::config",
        &["actix_web", "crate::transport::ws", "crate::actors", "crate::serve", "crate::cli", "crate::dev"],
    ),
    never("client-sim", "crate", &["conclave_cluster", "conclave_node"]),
    never("client-sim/client", "crate", &["conclave_cluster", "conclave_node", "conclave_client_sim"]),
    never("client-sim/client", "crate::http", &["crate::socket"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All sources of a crate, but for `tests.rs` and `tests/`, which may know everything.
fn sources(crate_folder: &str) -> Vec<Source> {
    sources_below(&format!("{crate_folder}/src"))
}

fn sources_below(folder: &str) -> Vec<Source> {
    let home = root().join(folder);
    let mut found = Vec::new();
    let mut pending = vec![home.clone()];
    while let Some(path) = pending.pop() {
        if path != home && path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder can be listed");
            pending.extend(entries.flatten().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(Source::read(&home, &path));
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

fn is_in(module: &str, of: &str) -> bool {
    module.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The breaches of the rules by these sources of a crate.
fn breaches(crate_folder: &str, sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.crate_folder == crate_folder) {
        let concerned = sources.iter().filter(|source| {
            is_in(&source.module, rule.module)
                && !rule.except.is_some_and(|except| is_in(&source.module, except))
        });
        for source in concerned {
            for path in rule.names.iter().flat_map(|name| source.naming(name)) {
                found.push(format!("{} names {path}", source.file));
            }
        }
    }
    found
}

/// Which folders of the module `of` name which others of them.
fn folders(of: &str, sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let folder = |path: &str| {
        let below = path.strip_prefix(of)?.strip_prefix("::")?;
        below.split("::").next().map(str::to_owned)
    };
    let all: BTreeSet<_> = sources.iter().filter_map(|source| folder(&source.module)).collect();
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(from) = folder(&source.module) else { continue };
        let to = source.naming(of).filter_map(folder).filter(|to| all.contains(to) && *to != from);
        named.entry(from.clone()).or_default().extend(to);
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
fn every_part_names_only_what_it_may() {
    for crate_folder in CRATES {
        assert_eq!(breaches(crate_folder, &sources(crate_folder)), [""; 0]);
    }
}

#[test]
fn no_folder_knows_itself_by_way_of_others() {
    for crate_folder in CRATES {
        let named = folders("crate", &sources(crate_folder));
        assert!(named.len() > 1, "{crate_folder}: {named:?}");
        assert_eq!(circle(&named), None, "{crate_folder}");
    }
    let transports = folders("crate::transport", &sources("node"));
    assert!(
        transports["pipeline"].contains("http") && transports["http"].contains("request"),
        "{transports:?}"
    );
    assert_eq!(circle(&transports), None);
}

#[test]
fn the_cluster_depends_on_no_actix_and_nothing_of_the_node() {
    let dependencies = dependencies("cluster");
    let actix = dependencies.iter().find(|name| name.starts_with("actix") || name.starts_with("conclave"));
    assert_eq!(actix, None);
}

#[test]
fn crates_depend_in_one_direction() {
    let ours = |folder: &str| -> Vec<String> {
        dependencies(folder).into_iter().filter(|name| name.starts_with("conclave-")).collect()
    };
    assert_eq!(ours("cluster"), [""; 0]);
    // How a binary frame looks is known to both ends of a socket, and how processes are run to all that run nodes; the
    // crates that say it know neither.
    for folder in ["node/sigma", "node/supervisor"] {
        assert_eq!(ours(folder), [""; 0]);
    }
    assert_eq!(ours("node"), ["conclave-cluster", "conclave-sigma", "conclave-supervisor"]);
    assert_eq!(ours("client-sim/client"), ["conclave-sigma"]);
    assert_eq!(ours("client-sim"), ["conclave-client", "conclave-supervisor"]);
}

/// The text of a source without its comments.
fn code(source: &Source) -> String {
    let text = fs::read_to_string(&source.file).expect("a source is text");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn only_generated_code_may_be_unsafe() {
    let all = ["cluster", "node", "node/sigma", "node/supervisor", "client-sim/client", "client-sim"]
        .into_iter()
        .flat_map(sources);
    // As code has it, with a blank behind; a content policy's word is none.
    let holding: Vec<_> =
        all.filter(|source| code(source).contains("unsafe ")).map(|source| source.file).collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    assert!(holding[0].ends_with("node/sigma/src/sigma_sockets_generated.rs"), "{holding:?}");
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let in_code: BTreeSet<String> = ["cluster", "node"]
        .iter()
        .flat_map(|folder| sources(folder))
        .flat_map(|source| metrics(&code(&source), '"'))
        .collect();
    let text = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md lists the metrics");
    let docs: BTreeSet<String> = metrics(&text, '`').into_iter().collect();
    // A name that the code completes as it runs stands for all that begin like it.
    let means = |name: &str, documented: &str| match name.ends_with('_') {
        true => documented.starts_with(name),
        false => documented == name,
    };
    let undocumented: Vec<_> =
        in_code.iter().filter(|name| !docs.iter().any(|other| means(name, other))).collect();
    let invented: Vec<_> =
        docs.iter().filter(|other| !in_code.iter().any(|name| means(name, other))).collect();
    assert!(undocumented.is_empty(), "not in docs/metrics.md: {undocumented:?}");
    assert!(invented.is_empty(), "only in docs/metrics.md: {invented:?}");
    assert!(!in_code.is_empty(), "there are metrics");
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
fn metrics_are_found_in_code_and_in_documents() {
    assert_eq!(metrics("counter!(\"conclave_x_total\")", '"'), ["conclave_x_total"]);
    assert_eq!(metrics("`conclave_y{tier}` and `conclave_cluster`", '`'), ["conclave_y"]);
}
