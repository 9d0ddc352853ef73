//! `$include`, as the Gateway resolves it.

use std::path::{Component, Path, PathBuf};

use super::{SourceFile, name_of, read_document};
use crate::json5::{Member, Node, Value};
use crate::output::Failure;

const INCLUDE: &str = "$include";
/// As many includes may include each other.
const MAX_DEPTH: usize = 10;

/// Replaces every object that includes files by the result: the files one over the other, and its other keys
/// over them.
pub(super) fn resolve(document: &mut Node, path: &Path, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let folder = absolute(path).parent().map(Path::to_owned).unwrap_or_default();
    let extra = std::env::var_os("OPENCLAW_INCLUDE_ROOTS").unwrap_or_default();
    let mut roots = vec![folder];
    roots.extend(std::env::split_paths(&extra).filter(|root| root.is_absolute()).map(|root| normal(&root)));
    let mut resolver = Resolver { roots, files, chain: vec![absolute(path)], from_stdin: path.as_os_str() == "-" };
    resolver.resolve(document)
}

struct Resolver<'f> {
    /// Folders in which included files may lie; the first is that of the document.
    roots: Vec<PathBuf>,
    files: &'f mut Vec<SourceFile>,
    /// The document, and the files that include each other down to where we are.
    chain: Vec<PathBuf>,
    from_stdin: bool,
}

impl Resolver<'_> {
    fn resolve(&mut self, node: &mut Node) -> Result<(), Failure> {
        match &mut node.value {
            Value::List(items) => items.iter_mut().try_for_each(|item| self.resolve(item)),
            Value::Object(members) => {
                members.iter_mut().filter(|m| m.key != INCLUDE).try_for_each(|m| self.resolve(&mut m.node))?;
                let Some(at) = members.iter().position(|member| member.key == INCLUDE) else { return Ok(()) };
                let include = members.remove(at);
                let own = std::mem::take(members);
                let mut all: Option<Node> = None;
                for name in names(&include, self)? {
                    let included = self.load(&name)?;
                    all = Some(match all {
                        Some(all) => merge(all, included),
                        None => included,
                    });
                }
                let all = all.unwrap_or_else(|| Node { span: include.node.span, value: Value::Object(Vec::new()) });
                if own.is_empty() {
                    *node = all;
                } else if matches!(all.value, Value::Object(_)) {
                    let span = node.span;
                    *node = merge(all, Node { span, value: Value::Object(own) });
                } else {
                    return Err(
                        self.error("includes a file that holds no object beside keys of its own", "remove either")
                    );
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn load(&mut self, name: &str) -> Result<Node, Failure> {
        if self.from_stdin {
            return Err(self.error(
                &format!("includes {name:?}, and standard input lies in no folder"),
                "give the file by its name",
            ));
        }
        let folder = self.chain.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
        let path = normal(&folder.join(name));
        let lies_in = |path: &Path, roots: &[PathBuf]| roots.iter().any(|root| path.starts_with(root));
        let real_roots: Vec<_> = self.roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
        let escapes =
            !lies_in(&path, &self.roots) || path.canonicalize().is_ok_and(|real| !lies_in(&real, &real_roots));
        if escapes {
            return Err(self.error(
                &format!("includes {name:?}, which lies outside the folder of the configuration"),
                "move it there, or name its folder in OPENCLAW_INCLUDE_ROOTS",
            ));
        }
        if self.chain.contains(&path) {
            return Err(self.error(&format!("includes {name:?}, which includes it in turn"), "break the circle"));
        }
        if self.chain.len() > MAX_DEPTH {
            return Err(self.error(&format!("includes more than {MAX_DEPTH} levels of files"), "nest less deeply"));
        }
        // Shown as the operator would write it.
        let shown = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(&path);
        let mut node = read_document(shown, self.files)?;
        self.chain.push(path);
        self.resolve(&mut node)?;
        self.chain.pop();
        Ok(node)
    }

    fn error(&self, problem: &str, remedy: &str) -> Failure {
        Failure::new(self.chain.last().map(|file| name_of(file)).unwrap_or_default(), problem, remedy)
    }
}

/// One name, or a list of names.
fn names(include: &Member, resolver: &Resolver<'_>) -> Result<Vec<String>, Failure> {
    let one = |node: &Node| node.text().map(str::to_owned);
    let names = match &include.node.value {
        Value::List(items) => items.iter().map(one).collect(),
        _ => one(&include.node).map(|name| vec![name]),
    };
    names.ok_or_else(|| {
        resolver.error("has an $include that is not a file name", "write a file name, or a list of them")
    })
}

/// The second over the first: objects key by key, lists one behind the other.
fn merge(below: Node, above: Node) -> Node {
    let value = match (below.value, above.value) {
        (Value::Object(mut members), Value::Object(more)) => {
            for member in more {
                match members.iter().position(|other| other.key == member.key) {
                    Some(at) => {
                        let old = members.remove(at);
                        members.insert(at, Member { node: merge(old.node, member.node), ..member });
                    }
                    None => members.push(member),
                }
            }
            Value::Object(members)
        }
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            Value::List(items)
        }
        (_, value) => value,
    };
    Node { span: above.span, value }
}

fn absolute(path: &Path) -> PathBuf {
    normal(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// A path without `.` and `..`, as it is written.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
