//! `$include`, as the Gateway resolves it.

use std::path::{Component, Path, PathBuf};

use super::{MAX_BYTES, SourceFile, is_stdin, name_of, read_document};
use crate::json5::{Member, Node, Span, Value};
use crate::output::Failure;

const INCLUDE: &str = "$include";
/// How deeply includes may be nested.
const MAX_DEPTH: usize = 10;
/// How many files are included in all. Each counts as often as it is included: a few files that include each other in
/// lists would otherwise become a document without end.
const MAX_FILES: usize = 1000;

/// Replaces every object that has an include. The included files are merged in order, and the object's other keys are
/// merged on top.
pub(super) fn resolve(document: &mut Node, path: &Path, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let folder = absolute(path).parent().map(Path::to_owned).unwrap_or_default();
    let extra = std::env::var_os("OPENCLAW_INCLUDE_ROOTS").unwrap_or_default();
    let mut roots = vec![folder];
    roots.extend(std::env::split_paths(&extra).filter(|root| root.is_absolute()).map(|root| normal(&root)));
    let mut resolver = Resolver { roots, files, chain: vec![absolute(path)], from_stdin: is_stdin(path) };
    resolver.resolve(document)
}

struct Resolver<'f> {
    /// Folders that may contain included files; the first is the document's own.
    roots: Vec<PathBuf>,
    files: &'f mut Vec<SourceFile>,
    /// The chain of includes: the document, and each file down to the current one.
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
                    return Err(self.error(
                        "has an $include next to other keys, but the included file is not an object",
                        "remove the other keys, or include an object",
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn load(&mut self, name: &str) -> Result<Node, Failure> {
        if self.from_stdin {
            return Err(self.error(
                &format!("includes {name:?}, but standard input has no folder"),
                "give the configuration as a file",
            ));
        }
        let folder = self.chain.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
        let path = normal(&folder.join(name));
        let is_below = |path: &Path, roots: &[PathBuf]| roots.iter().any(|root| path.starts_with(root));
        let real_roots: Vec<_> = self.roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
        let escapes =
            !is_below(&path, &self.roots) || path.canonicalize().is_ok_and(|real| !is_below(&real, &real_roots));
        if escapes {
            return Err(self.error(
                &format!("includes {name:?}, which is outside the folder of the configuration"),
                "move it there, or add its folder to OPENCLAW_INCLUDE_ROOTS",
            ));
        }
        if self.chain.contains(&path) {
            return Err(self.error(&format!("includes {name:?}, which includes it in turn"), "break the cycle"));
        }
        if self.chain.len() > MAX_DEPTH {
            return Err(self.error(&format!("nests includes more than {MAX_DEPTH} levels deep"), "use fewer levels"));
        }
        if self.files.len() > MAX_FILES {
            return Err(self.error(&format!("includes more than {MAX_FILES} files in all"), "include fewer files"));
        }
        // A pipe has no end before somebody writes to it.
        if path.metadata().is_ok_and(|data| !data.is_file()) {
            return Err(self.error(&format!("includes {name:?}, which is not a regular file"), "include a file"));
        }
        // Shown relative to the current folder, as an operator would write it.
        let shown = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(&path);
        let mut node = read_document(shown, self.files)?;
        let total = self.files.iter().map(|file| file.text.len()).fold(0, usize::saturating_add);
        if u64::try_from(total).unwrap_or(u64::MAX) > MAX_BYTES {
            let problem = format!("and its includes have more than {} MiB in all", MAX_BYTES >> 20);
            return Err(self.error(&problem, "include fewer or smaller files"));
        }
        self.chain.push(path);
        self.resolve(&mut node)?;
        self.chain.pop();
        Ok(node)
    }

    fn error(&self, problem: &str, remedy: &str) -> Failure {
        Failure::new(self.chain.last().map(|file| name_of(file)).unwrap_or_default(), problem, remedy)
    }
}

/// Where the first include is.
pub(super) fn find(node: &Node) -> Option<Span> {
    let own = node.members().iter().find(|member| member.key == INCLUDE).map(|member| member.key_span);
    let inner = || node.members().iter().map(|member| &member.node).chain(node.items()).find_map(find);
    own.or_else(inner)
}

/// The file names of an include: one, or a list.
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

/// Merges the second into the first: objects key by key, lists one after the other.
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

/// A path without `.` and `..`; symbolic links are not resolved.
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
