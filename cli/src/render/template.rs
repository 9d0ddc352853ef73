//! A shipped file in which texts are replaced. Each text must occur exactly once.

use super::traffic_extension::traffic_extensions;
use crate::output::Failure;

/// A file of `envoy/`.
pub struct Template {
    name: &'static str,
    text: String,
}

impl Template {
    pub fn new(name: &'static str, text: &str) -> Self {
        Self { name, text: text.to_owned() }
    }

    fn failure(&self, wanted: &str, count: usize) -> Failure {
        Failure::new(
            self.name,
            format!("contains {wanted:?} {count} times instead of once, in the copy that is built into this program"),
            "please report this: it is a bug in this program",
        )
    }

    fn place(&self, wanted: &str) -> Result<usize, Failure> {
        match self.text.match_indices(wanted).map(|(at, _)| at).collect::<Vec<_>>().as_slice() {
            [at] => Ok(*at),
            all => Err(self.failure(wanted, all.len())),
        }
    }

    /// The range from the line with `first` up to, but not including, the next line with `end`.
    fn lines(&self, first: &str, end: &str) -> Result<std::ops::Range<usize>, Failure> {
        let at = self.place(first)?;
        let start = self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |line| line.saturating_add(1));
        let rest = self.text.get(at..).unwrap_or_default();
        let end_at = rest.find(end).ok_or_else(|| self.failure(end, 0))?.saturating_add(at);
        let stop =
            self.text.get(..end_at).and_then(|before| before.rfind('\n')).map_or(0, |line| line.saturating_add(1));
        Ok(start..stop.max(start))
    }

    /// Replaces `from`, which must occur once, with `to`.
    pub fn replace(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let at = self.place(from)?;
        self.text.replace_range(at..at.saturating_add(from.len()), to);
        Ok(())
    }

    /// Replaces every `from` with `to`.
    pub fn replace_all(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        if !self.text.contains(from) {
            return Err(self.failure(from, 0));
        }
        self.text = self.text.replace(from, to);
        Ok(())
    }

    /// Replaces the lines from the one with `first` up to, but not including, the next one with `end`.
    pub fn replace_lines(&mut self, first: &str, end: &str, to: &str) -> Result<(), Failure> {
        let lines = self.lines(first, end)?;
        self.text.replace_range(lines, to);
        Ok(())
    }

    /// Inserts lines before the line with `mark`.
    pub fn insert_before(&mut self, mark: &str, lines: &str) -> Result<(), Failure> {
        let at = self.lines(mark, mark)?.start;
        self.text.insert_str(at, lines);
        Ok(())
    }

    /// The lines from the one with `first` up to, but not including, the next one with `end`.
    pub fn cut(&self, first: &str, end: &str) -> Result<String, Failure> {
        Ok(self.text.get(self.lines(first, end)?).unwrap_or_default().to_owned())
    }

    /// Replaces everything from the line with `first` to the end.
    pub fn replace_rest(&mut self, first: &str, to: &str) -> Result<(), Failure> {
        let at = self.lines(first, first)?.start;
        self.text.truncate(at);
        self.text.push_str(to);
        Ok(())
    }

    /// The text, with a TrafficExtension instead of a WasmPlugin.
    pub fn into_traffic_extension(self) -> Result<String, Failure> {
        traffic_extensions(&self.text).ok_or_else(|| self.failure("kind: WasmPlugin", 0))
    }

    pub fn into_text(self) -> String {
        self.text
    }
}
