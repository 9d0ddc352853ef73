//! A WebSocket over HTTP/2 (RFC 8441), byte by byte.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Version};

use crate::wire;

/// Opens a WebSocket, sends bytes if it was admitted, and returns the status and the bytes received: the whole body
/// of a refusal, or otherwise everything up to `last`.
///
/// # Panics
/// If there is no answer in time, or if it is not HTTP/2.
pub fn open(address: SocketAddr, headers: &[(&str, &str)], send: &'static [u8], last: &[u8]) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let talk = async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let (mut client, connection) = h2::client::handshake(stream).await.map_err(std::io::Error::other)?;
        let connection = tokio::spawn(connection);
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        client = client.ready().await.map_err(std::io::Error::other)?;
        let mut request =
            Request::builder().method(Method::CONNECT).uri("http://claw.example.com/").version(Version::HTTP_2);
        request = request.header("sec-websocket-version", "13").extension(h2::ext::Protocol::from_static("websocket"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).map_err(std::io::Error::other)?;
        let (response, mut upload) = client.send_request(request, false).map_err(std::io::Error::other)?;
        let response = response.await.map_err(std::io::Error::other)?;
        let status = response.status().as_u16();
        if status == 200 && !send.is_empty() {
            upload.send_data(Bytes::from_static(send), false).map_err(std::io::Error::other)?;
        }
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.map_err(std::io::Error::other)?;
            body.flow_control().release_capacity(part.len()).map_err(std::io::Error::other)?;
            bytes.extend_from_slice(&part);
            if status == 200 && bytes.ends_with(last) {
                break;
            }
        }
        connection.abort();
        Ok::<_, std::io::Error>((status, bytes))
    };
    let answer = runtime.block_on(async { tokio::time::timeout(wire::PATIENCE, talk).await });
    answer.expect("an answer over HTTP/2 in time").expect("an answer over HTTP/2")
}
