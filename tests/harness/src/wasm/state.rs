//! The state of the host: contexts, calls, logs, metrics, and the statuses that a test chose.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::exchange::{Action, LocalResponse};
use super::request::{Request, parse_map};

/// The status of a host call (proxy-wasm ABI 0.2.1).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    SerializationFailure = 3,
    ParseFailure = 4,
    BadExpression = 5,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    ResultMismatch = 9,
    InternalFailure = 10,
    BrokenConnection = 11,
    Unimplemented = 12,
}

impl Status {
    /// Every status that is not a success.
    pub const ERRORS: [Self; 12] = [
        Self::NotFound,
        Self::BadArgument,
        Self::SerializationFailure,
        Self::ParseFailure,
        Self::BadExpression,
        Self::InvalidMemoryAccess,
        Self::Empty,
        Self::CasMismatch,
        Self::ResultMismatch,
        Self::InternalFailure,
        Self::BrokenConnection,
        Self::Unimplemented,
    ];
}

/// An argument of a host call; for a pointer and length, the bytes that they refer to.
#[derive(Clone, PartialEq, Eq)]
pub enum Arg {
    /// A number.
    Number(u64),
    /// The bytes in the module's memory.
    Bytes(Vec<u8>),
}

/// A host call that was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The context that the host was calling into, or that the module has chosen since.
    pub context: u32,
    /// The name of the function.
    pub name: &'static str,
    /// Its arguments, without the pointers for results.
    pub args: Vec<Arg>,
    /// The status that the host returned.
    pub status: Status,
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} = {:?}", self.name, self.args, self.status)
    }
}

/// The level of a log line, as proxy-wasm numbers it.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Log {
    /// The level.
    pub level: Level,
    /// The message; bytes that are not UTF-8 show as replacement characters.
    pub text: String,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.level, self.text)
    }
}

pub(super) struct Metric {
    pub name: String,
    pub value: u64,
}

pub(super) struct Answer {
    call: String,
    nth: Option<usize>,
    seen: usize,
    status: Status,
}

/// The state of an open stream.
pub(super) struct StreamState {
    pub request: Request,
    pub headers: Vec<(String, Vec<u8>)>,
    pub response: Option<LocalResponse>,
    pub properties: Vec<(String, Vec<u8>)>,
    pub action: Option<Action>,
    /// Whether the module has closed it.
    pub closed: bool,
    pub fuel: u64,
}

impl StreamState {
    pub fn new(request: Request) -> Self {
        // A map given as raw bytes cannot be written to, unless it is a valid map.
        let headers = match &request.raw_map {
            Some(raw) => parse_map(raw).unwrap_or_default(),
            None => request.headers.clone(),
        };
        Self { request, headers, response: None, properties: Vec::new(), action: None, closed: false, fuel: 0 }
    }
}

/// The values that VMs with one `vm_id` share, each with the number of its version.
pub(super) type Shared = Arc<Mutex<HashMap<Vec<u8>, (Vec<u8>, u32)>>>;

/// The state of the VM.
pub(super) struct State {
    pub configuration: Vec<u8>,
    pub effective_context: u32,
    /// All contexts that were created and not removed.
    pub contexts: BTreeSet<u32>,
    /// The root context of each context.
    pub roots: HashMap<u32, u32>,
    /// The names of the plugins, by root context.
    pub names: HashMap<u32, String>,
    pub streams: HashMap<u32, StreamState>,
    /// The properties of which a request keeps the first value.
    pub read_only: BTreeSet<String>,
    pub shared: Shared,
    pub calls: Vec<Call>,
    pub logs: Vec<Log>,
    pub metrics: Vec<Metric>,
    pub answers: Vec<Answer>,
    /// Buffers are reported with their size, but are null.
    pub null_buffers: bool,
    pub clock: u64,
    /// The period that was set last, by any plugin.
    pub tick_period: u32,
    /// The periods by root context.
    pub tick_periods: HashMap<u32, u32>,
    pub fuel: u64,
    pub random: u64,
}

impl Default for State {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            configuration: Vec::new(),
            effective_context: 0,
            contexts: BTreeSet::new(),
            roots: HashMap::new(),
            names: HashMap::new(),
            streams: HashMap::new(),
            read_only: BTreeSet::new(),
            shared: Shared::default(),
            calls: Vec::new(),
            logs: Vec::new(),
            metrics: Vec::new(),
            answers: Vec::new(),
            null_buffers: false,
            // Some day in 2026; only differences matter.
            clock: 1_790_000_000_000_000_000,
            tick_period: 0,
            tick_periods: HashMap::new(),
            fuel: 0,
            // No two VMs draw the same numbers.
            random: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl State {
    pub fn answer(&mut self, call: &str, nth: Option<usize>, status: Status) {
        self.answers.push(Answer { call: call.to_owned(), nth, seen: 0, status });
    }

    /// The status that a test chose for this call, if any.
    pub fn chosen(&mut self, call: &str) -> Option<Status> {
        let mut chosen = None;
        for answer in self.answers.iter_mut().filter(|answer| answer.call == call) {
            answer.seen += 1;
            if answer.nth.is_none_or(|nth| nth == answer.seen) {
                chosen = Some(answer.status);
            }
        }
        chosen
    }

    /// The root context of the current context.
    pub fn root(&self) -> u32 {
        self.roots.get(&self.effective_context).copied().unwrap_or(self.effective_context)
    }

    /// A property of the current stream, or of the current plugin.
    pub fn property(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        if path == b"plugin_name" {
            return self.names.get(&self.root()).map(|name| name.clone().into_bytes());
        }
        let stream = self.stream()?;
        let of_wasm = path.strip_prefix(b"filter_state\0wasm.");
        let set = stream.properties.iter().rev().find(|(known, _)| Some(known.as_bytes()) == of_wasm);
        set.map(|(_, value)| value).or_else(|| stream.request.properties.get(path)).cloned()
    }

    pub fn stream(&mut self) -> Option<&mut StreamState> {
        self.streams.get_mut(&self.effective_context)
    }
}
