//! The functions that the module may call. Each call is recorded with its arguments and its status. If a test chose
//! the status, the call does nothing else.

use wasmtime::{Caller, Extern, Linker, Memory, Result, bail, format_err};

use super::exchange::LocalResponse;
use super::request::{parse_map, serialize_map};
use super::state::{Arg, Call, Level, Log, Metric, State, Status};

type Ctx<'a> = Caller<'a, State>;

const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;

fn memory(caller: &mut Ctx<'_>) -> Result<Memory> {
    caller.get_export("memory").and_then(Extern::into_memory).ok_or_else(|| format_err!("the module exports no memory"))
}

fn read(caller: &mut Ctx<'_>, at: u32, length: u32) -> Result<Vec<u8>> {
    let memory = memory(caller)?;
    let (start, length) = (at as usize, length as usize);
    let bytes = memory.data(&caller).get(start..start + length);
    bytes.map(<[u8]>::to_vec).ok_or_else(|| format_err!("a host call reads {length} bytes at {at:#x}: out of memory"))
}

fn write(caller: &mut Ctx<'_>, at: u32, bytes: &[u8]) -> Result<()> {
    let memory = memory(caller)?;
    let start = at as usize;
    match memory.data_mut(caller).get_mut(start..start + bytes.len()) {
        Some(place) => place.copy_from_slice(bytes),
        None => bail!("a host call has {} bytes written at {at:#x}: out of memory", bytes.len()),
    }
    Ok(())
}

/// Copies bytes into memory that the module allocates, and passes their address; no bytes become a null pointer, as
/// in Envoy.
fn hand_over(caller: &mut Ctx<'_>, bytes: &[u8], pointer_at: u32, size_at: u32) -> Result<Status> {
    let size = u32::try_from(bytes.len())?;
    let mut pointer = 0;
    if size > 0 && !caller.data().null_buffers {
        let allocate = ["proxy_on_memory_allocate", "malloc"]
            .iter()
            .find_map(|name| caller.get_export(name).and_then(Extern::into_func))
            .ok_or_else(|| format_err!("the module exports no allocator"))?;
        pointer = allocate.typed::<u32, u32>(&caller)?.call(&mut *caller, size)?;
        if pointer == 0 {
            return Ok(Status::InvalidMemoryAccess);
        }
        write(caller, pointer, bytes)?;
    }
    write(caller, pointer_at, &pointer.to_le_bytes())?;
    write(caller, size_at, &size.to_le_bytes())?;
    Ok(Status::Ok)
}

/// Records a call, and performs it unless the test chose its status.
fn call(
    caller: &mut Ctx<'_>,
    name: &'static str,
    args: Vec<Arg>,
    work: impl FnOnce(&mut Ctx<'_>) -> Result<Status>,
) -> Result<u32> {
    let context = caller.data().effective_context;
    let status = match caller.data_mut().chosen(name) {
        Some(status) => status,
        None => work(caller)?,
    };
    caller.data_mut().calls.push(Call { context, name, args, status });
    Ok(status as u32)
}

fn number(value: impl Into<u64>) -> Arg {
    Arg::Number(value.into())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Works on the request headers of the current stream; any other map is a bad argument.
fn with_headers(caller: &mut Ctx<'_>, map: u32, work: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Result<Status> {
    Ok(match caller.data_mut().stream() {
        Some(stream) if map == REQUEST_HEADERS => {
            work(&mut stream.headers);
            Status::Ok
        }
        _ => Status::BadArgument,
    })
}

pub(super) fn define(linker: &mut Linker<State>) -> Result<()> {
    headers(linker)?;
    properties(linker)?;
    replies_and_buffers(linker)?;
    logs_and_time(linker)?;
    metrics(linker)?;
    shared_data(linker)?;
    wasi(linker)
}

fn headers(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut caller: Ctx<'_>, map: u32, pointer_at: u32, size_at: u32| {
            call(&mut caller, "proxy_get_header_map_pairs", vec![number(map)], |caller| {
                let Some(stream) = caller.data_mut().stream().filter(|_| map == REQUEST_HEADERS) else {
                    return Ok(Status::BadArgument);
                };
                let bytes = stream.request.raw_map.clone().unwrap_or_else(|| serialize_map(&stream.headers));
                hand_over(caller, &bytes, pointer_at, size_at)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut caller: Ctx<'_>, map: u32, name: u32, name_size: u32, pointer_at: u32, size_at: u32| {
            let name = read(&mut caller, name, name_size)?;
            call(&mut caller, "proxy_get_header_map_value", vec![number(map), Arg::Bytes(name.clone())], |caller| {
                let mut value = None;
                let status = with_headers(caller, map, |headers| {
                    let first = headers.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(&name));
                    value = first.map(|(_, value)| value.clone());
                })?;
                match value {
                    Some(value) => hand_over(caller, &value, pointer_at, size_at),
                    None if status == Status::Ok => Ok(Status::NotFound),
                    None => Ok(status),
                }
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut caller: Ctx<'_>, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            let name = read(&mut caller, name, name_size)?;
            let value = read(&mut caller, value, value_size)?;
            let args = vec![number(map), Arg::Bytes(name.clone()), Arg::Bytes(value.clone())];
            call(&mut caller, "proxy_replace_header_map_value", args, |caller| {
                with_headers(caller, map, |headers| {
                    let is_it = |known: &str| known.as_bytes().eq_ignore_ascii_case(&name);
                    match headers.iter().position(|(known, _)| is_it(known)) {
                        Some(first) => {
                            headers[first].1 = value;
                            let mut index = 0;
                            headers.retain(|(known, _)| {
                                index += 1;
                                index <= first + 1 || !is_it(known)
                            });
                        }
                        None => headers.push((lossy(&name).to_ascii_lowercase(), value)),
                    }
                })
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_add_header_map_value",
        |mut caller: Ctx<'_>, map: u32, name: u32, name_size: u32, value: u32, value_size: u32| {
            let name = read(&mut caller, name, name_size)?;
            let value = read(&mut caller, value, value_size)?;
            let args = vec![number(map), Arg::Bytes(name.clone()), Arg::Bytes(value.clone())];
            call(&mut caller, "proxy_add_header_map_value", args, |caller| {
                with_headers(caller, map, |headers| headers.push((lossy(&name).to_ascii_lowercase(), value)))
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut caller: Ctx<'_>, map: u32, name: u32, name_size: u32| {
            let name = read(&mut caller, name, name_size)?;
            let args = vec![number(map), Arg::Bytes(name.clone())];
            call(&mut caller, "proxy_remove_header_map_value", args, |caller| {
                with_headers(caller, map, |headers| {
                    headers.retain(|(known, _)| !known.as_bytes().eq_ignore_ascii_case(&name));
                })
            })
        },
    )?;
    Ok(())
}

/// The name in a `DeclarePropertyArguments` that declares a string that is read-only.
fn read_only(arguments: &[u8]) -> Option<String> {
    let [0x0A, length, rest @ ..] = arguments else { return None };
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    (rest == [0x10, 1, 0x18, 1, 0x28, 1]).then(|| lossy(name))
}

fn properties(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut caller: Ctx<'_>, path: u32, path_size: u32, pointer_at: u32, size_at: u32| {
            let path = read(&mut caller, path, path_size)?;
            call(&mut caller, "proxy_get_property", vec![Arg::Bytes(path.clone())], |caller| {
                let path = path.strip_suffix(b"\0").unwrap_or(&path);
                match caller.data_mut().property(path) {
                    Some(value) => hand_over(caller, &value, pointer_at, size_at),
                    None => Ok(Status::NotFound),
                }
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut caller: Ctx<'_>, path: u32, path_size: u32, value: u32, value_size: u32| {
            let path = read(&mut caller, path, path_size)?;
            let value = read(&mut caller, value, value_size)?;
            let args = vec![Arg::Bytes(path.clone()), Arg::Bytes(value.clone())];
            call(&mut caller, "proxy_set_property", args, |caller| {
                let state = caller.data_mut();
                let path = lossy(&path);
                let is_read_only = state.read_only.contains(&path);
                Ok(match state.stream() {
                    Some(stream) if is_read_only && stream.properties.iter().any(|(known, _)| *known == path) => {
                        Status::BadArgument
                    }
                    Some(stream) => {
                        stream.properties.push((path, value));
                        Status::Ok
                    }
                    None => Status::NotFound,
                })
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |mut caller: Ctx<'_>, name: u32, name_size: u32, data: u32, data_size: u32, pointer_at: u32, size_at: u32| {
            let name = read(&mut caller, name, name_size)?;
            let arguments = read(&mut caller, data, data_size)?;
            let args = vec![Arg::Bytes(name.clone()), Arg::Bytes(arguments.clone())];
            call(&mut caller, "proxy_call_foreign_function", args, |caller| {
                // Envoy knows further functions, which the filter does not call.
                let Some(property) = (name == b"declare_property").then(|| read_only(&arguments)).flatten() else {
                    return Ok(Status::NotFound);
                };
                if !caller.data_mut().read_only.insert(property) {
                    return Ok(Status::BadArgument);
                }
                hand_over(caller, b"", pointer_at, size_at)
            })
        },
    )?;
    linker.func_wrap("env", "proxy_set_effective_context", |mut caller: Ctx<'_>, context: u32| {
        call(&mut caller, "proxy_set_effective_context", vec![number(context)], |caller| {
            let state = caller.data_mut();
            if !state.contexts.contains(&context) {
                return Ok(Status::BadArgument);
            }
            state.effective_context = context;
            Ok(Status::Ok)
        })
    })?;
    Ok(())
}

fn replies_and_buffers(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |mut caller: Ctx<'_>,
         status: u32,
         details: u32,
         details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         grpc_status: i32| {
            let details = read(&mut caller, details, details_size)?;
            let body = read(&mut caller, body, body_size)?;
            let map = read(&mut caller, headers, headers_size)?;
            let args = vec![number(status), Arg::Bytes(details), Arg::Bytes(body.clone()), Arg::Bytes(map.clone())];
            call(&mut caller, "proxy_send_local_response", args, |caller| {
                if grpc_status != -1 {
                    bail!("a local response with a gRPC status ({grpc_status})");
                }
                let headers = match map.is_empty() {
                    true => Vec::new(),
                    false => parse_map(&map)
                        .ok_or_else(|| format_err!("the headers of a local response are not a header map: {map:?}"))?,
                };
                let Some(stream) = caller.data_mut().stream() else { return Ok(Status::BadArgument) };
                if stream.response.is_some() {
                    bail!("a second local response to the same request");
                }
                stream.response = Some(LocalResponse { status: u16::try_from(status)?, headers, body });
                Ok(Status::Ok)
            })
        },
    )?;
    linker.func_wrap("env", "proxy_close_stream", |mut caller: Ctx<'_>, kind: u32| {
        call(&mut caller, "proxy_close_stream", vec![number(kind)], |caller| {
            let Some(stream) = caller.data_mut().stream().filter(|_| kind == 0) else { return Ok(Status::BadArgument) };
            // Envoy would destroy it twice.
            if stream.closed || stream.request.properties.contains_key(&b"request\0duration"[..]) {
                bail!("closes a stream that has ended");
            }
            stream.closed = true;
            Ok(Status::Ok)
        })
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut caller: Ctx<'_>, buffer: u32, start: u32, size: u32, pointer_at: u32, size_at: u32| {
            let args = vec![number(buffer), number(start), number(size)];
            call(&mut caller, "proxy_get_buffer_bytes", args, |caller| {
                if buffer != PLUGIN_CONFIGURATION {
                    return Ok(Status::NotFound);
                }
                let whole = caller.data().configuration.clone();
                let rest = whole.get(start as usize..).unwrap_or_default();
                hand_over(caller, rest.get(..size as usize).unwrap_or(rest), pointer_at, size_at)
            })
        },
    )?;
    Ok(())
}

fn logs_and_time(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_log", |mut caller: Ctx<'_>, level: u32, text: u32, size: u32| {
        let text = read(&mut caller, text, size)?;
        let args = vec![number(level), Arg::Bytes(text.clone())];
        call(&mut caller, "proxy_log", args, |caller| {
            let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];
            let Some(level) = levels.get(level as usize) else { return Ok(Status::BadArgument) };
            caller.data_mut().logs.push(Log { level: *level, text: lossy(&text) });
            Ok(Status::Ok)
        })
    })?;
    linker.func_wrap("env", "proxy_get_log_level", |mut caller: Ctx<'_>, level_at: u32| {
        call(&mut caller, "proxy_get_log_level", Vec::new(), |caller| {
            write(caller, level_at, &(Level::Trace as u32).to_le_bytes())?;
            Ok(Status::Ok)
        })
    })?;
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", |mut caller: Ctx<'_>, time_at: u32| {
        call(&mut caller, "proxy_get_current_time_nanoseconds", Vec::new(), |caller| {
            let clock = caller.data().clock;
            write(caller, time_at, &clock.to_le_bytes())?;
            Ok(Status::Ok)
        })
    })?;
    linker.func_wrap("env", "proxy_set_tick_period_milliseconds", |mut caller: Ctx<'_>, period: u32| {
        call(&mut caller, "proxy_set_tick_period_milliseconds", vec![number(period)], |caller| {
            let state = caller.data_mut();
            state.tick_period = period;
            state.tick_periods.insert(state.root(), period);
            Ok(Status::Ok)
        })
    })?;
    Ok(())
}

fn metrics(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut caller: Ctx<'_>, kind: u32, name: u32, size: u32, id_at: u32| {
            let name = read(&mut caller, name, size)?;
            let args = vec![number(kind), Arg::Bytes(name.clone())];
            call(&mut caller, "proxy_define_metric", args, |caller| {
                let name = lossy(&name);
                let metrics = &mut caller.data_mut().metrics;
                // A metric with the same name is the same metric, regardless of which context defines it.
                let id = metrics.iter().position(|metric| metric.name == name).unwrap_or_else(|| {
                    metrics.push(Metric { name, value: 0 });
                    metrics.len() - 1
                });
                write(caller, id_at, &u32::try_from(id)?.to_le_bytes())?;
                Ok(Status::Ok)
            })
        },
    )?;
    linker.func_wrap("env", "proxy_increment_metric", |mut caller: Ctx<'_>, id: u32, by: i64| {
        call(&mut caller, "proxy_increment_metric", vec![number(id), number(by.cast_unsigned())], |caller| {
            Ok(match caller.data_mut().metrics.get_mut(id as usize) {
                Some(metric) => {
                    metric.value = metric.value.wrapping_add_signed(by);
                    Status::Ok
                }
                None => Status::BadArgument,
            })
        })
    })?;
    linker.func_wrap("env", "proxy_record_metric", |mut caller: Ctx<'_>, id: u32, value: u64| {
        call(&mut caller, "proxy_record_metric", vec![number(id), number(value)], |caller| {
            Ok(match caller.data_mut().metrics.get_mut(id as usize) {
                Some(metric) => {
                    metric.value = value;
                    Status::Ok
                }
                None => Status::BadArgument,
            })
        })
    })?;
    Ok(())
}

fn shared_data(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut caller: Ctx<'_>, key: u32, key_size: u32, pointer_at: u32, size_at: u32, version_at: u32| {
            let key = read(&mut caller, key, key_size)?;
            call(&mut caller, "proxy_get_shared_data", vec![Arg::Bytes(key.clone())], |caller| {
                let found = caller.data().shared.lock().unwrap().get(&key).cloned();
                let Some((value, version)) = found else { return Ok(Status::NotFound) };
                write(caller, version_at, &version.to_le_bytes())?;
                hand_over(caller, &value, pointer_at, size_at)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut caller: Ctx<'_>, key: u32, key_size: u32, value: u32, size: u32, version: u32| {
            let key = read(&mut caller, key, key_size)?;
            let value = read(&mut caller, value, size)?;
            let args = vec![Arg::Bytes(key.clone()), Arg::Bytes(value.clone()), number(version)];
            call(&mut caller, "proxy_set_shared_data", args, |caller| {
                let mut shared = caller.data().shared.lock().unwrap();
                let known = shared.get(&key).map_or(0, |(_, version)| *version);
                if version != 0 && known != 0 && version != known {
                    return Ok(Status::CasMismatch);
                }
                shared.insert(key, (value, known + 1));
                Ok(Status::Ok)
            })
        },
    )?;
    Ok(())
}

/// What Rust's standard library needs from WASI: an empty environment, the host's clock, pseudo-random numbers, and
/// an output for panic messages.
fn wasi(linker: &mut Linker<State>) -> Result<()> {
    const MODULE: &str = "wasi_snapshot_preview1";
    for (name, sizes) in
        [("environ_sizes_get", true), ("args_sizes_get", true), ("environ_get", false), ("args_get", false)]
    {
        linker.func_wrap(MODULE, name, move |mut caller: Ctx<'_>, count_at: u32, size_at: u32| -> Result<u32> {
            if sizes {
                write(&mut caller, count_at, &[0; 4])?;
                write(&mut caller, size_at, &[0; 4])?;
            }
            Ok(0)
        })?;
    }
    linker.func_wrap(MODULE, "clock_time_get", |mut caller: Ctx<'_>, _: u32, _: u64, time_at: u32| -> Result<u32> {
        let clock = caller.data().clock;
        write(&mut caller, time_at, &clock.to_le_bytes())?;
        Ok(0)
    })?;
    linker.func_wrap(MODULE, "random_get", |mut caller: Ctx<'_>, at: u32, size: u32| -> Result<u32> {
        let mut bytes = Vec::new();
        while bytes.len() < size as usize {
            // splitmix64
            let random = &mut caller.data_mut().random;
            *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (*random ^ (*random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
        }
        bytes.truncate(size as usize);
        write(&mut caller, at, &bytes)?;
        Ok(0)
    })?;
    linker.func_wrap(
        MODULE,
        "fd_write",
        |mut caller: Ctx<'_>, file: u32, vectors: u32, count: u32, written_at: u32| -> Result<u32> {
            if !matches!(file, 1 | 2) {
                bail!("the module writes to file {file}");
            }
            let mut text = Vec::new();
            let number = |bytes: &[u8]| bytes.first_chunk().copied().map_or(0, u32::from_le_bytes);
            for vector in read(&mut caller, vectors, count * 8)?.chunks(8) {
                text.extend(read(&mut caller, number(vector), number(&vector[4..]))?);
            }
            write(&mut caller, written_at, &u32::try_from(text.len())?.to_le_bytes())?;
            let level = if file == 1 { Level::Info } else { Level::Error };
            caller.data_mut().logs.push(Log { level, text: lossy(&text) });
            Ok(0)
        },
    )?;
    linker.func_wrap(MODULE, "proc_exit", |_: Ctx<'_>, code: u32| -> Result<()> {
        bail!("the module exits with code {code}")
    })?;
    Ok(())
}
