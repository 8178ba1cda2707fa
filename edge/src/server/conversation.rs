//! Owns a connection's bytes: notes when they come and go, and gives hyper's own bare refusals (a
//! head it cannot parse) the form that all our refusals have.
//!
//! Must never touch an answer of ours: those of an error always have a body, hyper's never.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use onsale_proto::Code;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::Connection;
use crate::{metrics, problem::Problem};

/// How long a bare refusal of hyper's can be.
const BARE_BYTES_MAX: usize = 256;

/// A connection's byte stream.
pub(super) struct Conversation {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// What is written instead of the bytes that hyper gave, and how much of it is out.
    instead: Option<(Vec<u8>, usize)>,
}

impl Conversation {
    pub(super) fn new(stream: TcpStream, connection: Arc<Connection>) -> Conversation {
        Conversation { stream, connection, instead: None }
    }

    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        match &written {
            Poll::Ready(Ok(_)) => self.connection.sent(),
            Poll::Pending => self.connection.stalled(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl AsyncRead for Conversation {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            this.connection.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conversation {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.instead.is_none() {
            match dressed(bytes) {
                Some(instead) => this.instead = Some((instead, 0)),
                None => return this.write(context, bytes),
            }
        }
        while let Some((instead, done)) = this.instead.take() {
            if done == instead.len() {
                break;
            }
            match this.write(context, &instead[done..]) {
                Poll::Ready(Ok(written)) => this.instead = Some((instead, done + written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.instead = Some((instead, done));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The bytes with a bare refusal at their end dressed as a problem; none when there is none.
fn dressed(bytes: &[u8]) -> Option<Vec<u8>> {
    // A head without a body ends so; answers with a body do not.
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail_at = bytes.len().saturating_sub(BARE_BYTES_MAX);
    let tail = &bytes[tail_at..];
    let head_at = tail.windows(7).rposition(|window| window == b"HTTP/1.")?;
    let head = &tail[head_at..];
    if !contains(head, b"content-length: 0\r\n") {
        return None;
    }
    let (code, detail) = match head.get(9..12)? {
        b"400" => (Code::InvalidRequest, "this is not HTTP/1.1"),
        b"414" => (Code::PayloadTooLarge, "the address is too long"),
        b"431" => (Code::PayloadTooLarge, "the headers are too large or too many"),
        _ => return None,
    };
    metrics::problem(code);
    let problem = Problem::new(code, detail);
    let body = problem.to_json("");
    let reason = match code {
        Code::InvalidRequest => "400 Bad Request",
        _ => "413 Content Too Large",
    };
    let mut out = bytes[..tail_at + head_at].to_vec();
    out.extend_from_slice(
        format!(
            "HTTP/1.1 {reason}\r\ncontent-type: application/problem+json\r\n\
             content-length: {}\r\ncache-control: no-store\r\n\
             x-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    out.extend_from_slice(&body);
    Some(out)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_refusals_are_dressed() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
            content-length: 0\r\ndate: Mon, 23 Nov 2026 21:00:00 GMT\r\n\r\n";
        let out = String::from_utf8(dressed(bare).expect("dressed")).expect("UTF-8");
        assert!(out.starts_with("HTTP/1.1 413 "), "{out}");
        assert!(out.contains("\"code\":\"payload_too_large\""), "{out}");
        let mut two = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec();
        two.extend_from_slice(bare);
        let out = String::from_utf8(dressed(&two).expect("dressed")).expect("UTF-8");
        assert!(out.starts_with("HTTP/1.1 200 OK"), "{out}");
        for ours in [
            &b"HTTP/1.1 204 No Content\r\n\r\n"[..],
            b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 120\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"\r\n\r\n",
        ] {
            assert!(dressed(ours).is_none(), "{ours:?}");
        }
    }
}
