//! What a source file names: its imports and paths, read from syntax and resolved to where they lead.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemUse, Meta, UseTree};

/// A file of one of our crates.
pub(super) struct Source {
    /// Where it lies, from the project's root.
    pub(super) file: String,
    /// The module that it is, as `crate::a::b`.
    pub(super) module: String,
    /// Everything outside its tests that it names, as `crate::a::b::C` or `other_crate::d`.
    pub(super) paths: BTreeSet<String>,
    /// The items that it defines outside its tests, by name.
    pub(super) items: BTreeSet<String>,
}

impl Source {
    /// Reads a file whose crate's `src` folder is `src`. Panics if it is not Rust.
    pub(super) fn read(src: &Path, file: &Path) -> Self {
        let text = std::fs::read_to_string(file).expect("a source is text");
        let inside = file.strip_prefix(src).expect("a file of that folder");
        let mut segments: Vec<String> = inside
            .with_extension("")
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        if segments.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            segments.pop();
        }
        segments.insert(0, "crate".to_owned());
        Self::parse(&file.display().to_string(), &segments.join("::"), &text)
    }

    /// Reads text as the module `module`.
    pub(super) fn parse(file: &str, module: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut reader = Reader { module: segments(module), paths: BTreeSet::new(), items: BTreeSet::new() };
        reader.visit_file(&syntax);
        let (paths, items) = (reader.paths, reader.items);
        Self { file: file.to_owned(), module: module.to_owned(), paths, items }
    }

    /// The paths that begin with `prefix`, segment by segment; of a `prefix` of one segment that is capitalized, those that
    /// have it anywhere.
    pub(super) fn naming<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a str> {
        let prefix = segments(prefix);
        let anywhere = prefix.len() == 1 && prefix[0].starts_with(char::is_uppercase);
        self.paths.iter().map(String::as_str).filter(move |path| {
            let path = segments(path);
            if anywhere { path.contains(&prefix[0]) } else { path.starts_with(&prefix) }
        })
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(str::to_owned).collect()
}

struct Reader {
    module: Vec<String>,
    paths: BTreeSet<String>,
    items: BTreeSet<String>,
}

impl Reader {
    /// Records a path as it was written here.
    fn record(&mut self, written: &[String]) {
        let mut base = match written.first().map(String::as_str) {
            Some("crate") => vec!["crate".to_owned()],
            Some("self" | "super") => self.module.clone(),
            Some(_) => Vec::new(),
            None => return,
        };
        for segment in written {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                name => base.push(name.to_owned()),
            }
        }
        self.paths.insert(base.join("::"));
    }

    fn tree(&mut self, before: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree);
                before.pop();
            }
            UseTree::Name(name) => self.leaf(before, &name.ident.to_string()),
            UseTree::Rename(rename) => self.leaf(before, &rename.ident.to_string()),
            UseTree::Glob(_) => self.record(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }

    fn leaf(&mut self, before: &mut Vec<String>, name: &str) {
        before.push(name.to_owned());
        self.record(before);
        before.pop();
    }

    /// Paths inside a macro's call, which syntax does not tell from anything else.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.flush(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.flush(&mut path);
                    self.tokens(group.stream());
                    colons = 0;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.flush(&mut path);
                    colons = 0;
                }
            }
        }
        self.flush(&mut path);
    }

    fn flush(&mut self, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.record(path);
        }
        path.clear();
    }
}

/// Whether an item is there for tests only.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || matches!(&attribute.meta, Meta::List(list)
                if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item;
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Mod(item) => (&item.attrs, None),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            Item::Macro(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_test(attributes) {
            return;
        }
        self.items.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.items.insert(item.sig.ident.to_string());
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.record(&written);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}
