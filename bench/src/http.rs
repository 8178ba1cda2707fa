//! Owns a minimal HTTP/1.1 client: one keep-alive connection, one request at a time, no copies of
//! what is not looked at. A load driver shares the machine with what it measures.
//!
//! Must never be used against anything but our own servers and peers: it speaks plain HTTP only.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::limits;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub authority: String,
}

impl Target {
    /// Of `http://host:port`, with or without a slash behind.
    pub fn parse(url: &str) -> Result<Target, String> {
        let rest = url.strip_prefix("http://");
        let rest = rest.ok_or_else(|| format!("{url}: only http:// URLs are understood"))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(format!("{url}: must be http://host:port"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Target { authority })
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(usize),
    /// In chunks.
    Chunked,
    /// When the connection ends.
    UntilClose,
}

/// The start of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Length of the head with its empty line.
    pub bytes: usize,
    /// How its body ends.
    pub framing: Framing,
    /// The server closes the connection behind it.
    pub close: bool,
}

/// The head at the start of `data`; `None` while it is not complete.
///
/// # Errors
/// When no HTTP/1.1 server would say that.
pub fn parse_head(data: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = data.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match data.len() {
            0..limits::HEAD_BYTES_MAX => Ok(None),
            _ => Err(bad("the head of the answer is too large")),
        };
    };
    let text = std::str::from_utf8(&data[..end]).map_err(|_| bad("the head is not text"))?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let version_1_0 = line.starts_with("HTTP/1.0 ");
    if !version_1_0 && !line.starts_with("HTTP/1.1 ") {
        return Err(bad("not an HTTP/1 answer"));
    }
    let status = line.get(9..12).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| bad("no status in the answer"))?;
    let (mut length, mut chunked, mut close) = (None, false, version_1_0);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let number = value.parse::<usize>().map_err(|_| bad("a wrong Content-Length"))?;
            length = Some(number);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.eq_ignore_ascii_case("close");
        }
    }
    let framing = match (status, chunked, length) {
        (100..200 | 204 | 304, _, _) => Framing::Length(0),
        (_, true, _) => Framing::Chunked,
        (_, _, Some(length)) if length <= limits::RESPONSE_BYTES_MAX => Framing::Length(length),
        (_, _, Some(_)) => return Err(bad("the answer is too large")),
        (_, _, None) => Framing::UntilClose,
    };
    Ok(Some(Head { status, bytes: end + 4, framing, close }))
}

/// A chunked body and its encoded length; `None` while it is not complete.
///
/// # Errors
/// When the chunks make no sense.
pub fn dechunk(data: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = data[at..].windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&data[at..at + line]).ok();
        let size = size.and_then(|text| text.split(';').next());
        let size = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
        let size = size.filter(|size| *size <= limits::RESPONSE_BYTES_MAX);
        let size = size.ok_or_else(|| bad("a wrong chunk size"))?;
        at += line + 2;
        if size == 0 {
            // No trailers are expected: an empty line ends the body.
            let ended = data[at..].starts_with(b"\r\n");
            return Ok(ended.then_some((body, at + 2)));
        }
        let Some(chunk) = data.get(at..at + size) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        at += size;
        match data.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err(bad("a chunk without an end")),
            None => return Ok(None),
        }
    }
}

/// The value of a header in the raw head of an answer.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(head).ok()?;
    let mut fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

/// An answer in the connection's buffer, until the next request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The raw head.
    pub head: &'a [u8],
    /// The body as sent, without chunks.
    pub body: &'a [u8],
}

/// One connection to a server.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
    /// The server wants no further request on it.
    pub closed: bool,
    /// When it was opened, or last brought an answer.
    pub rests_since: Instant,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached in time.
    pub async fn open(target: &Target) -> io::Result<Connection> {
        let connecting = TcpStream::connect(&target.authority);
        let stream = timeout(limits::CONNECT_TIMEOUT, connecting).await.map_err(timed_out)??;
        stream.set_nodelay(true)?;
        let (buffer, body) = (Vec::with_capacity(4_096), Vec::new());
        Ok(Connection { stream, buffer, body, closed: false, rests_since: Instant::now() })
    }

    /// Whether it is of no use for a further request: the server ended it, or said more than it
    /// was asked for. Servers end connections that idle.
    pub fn is_gone(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        self.closed || !nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether this failure says no more than that the server ended the connection while it
    /// rested: such an end may be on its way when a request is sent, and nobody has seen the
    /// request then. HTTP clients repeat what may be repeated on another connection.
    pub fn was_ended(&self, error: &io::Error) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let hung_up = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
        hung_up.contains(&error.kind())
            && self.buffer.is_empty()
            && self.rests_since.elapsed() >= limits::REST_MIN
    }

    /// Sends a whole request and reads its whole answer. After an error the outcome is unknown
    /// and the connection is of no use.
    ///
    /// # Errors
    /// When the connection breaks, the time is over, or the answer is not HTTP.
    pub async fn exchange(&mut self, request: &[u8], within: Duration) -> io::Result<Answer<'_>> {
        let head = self.send(request, within).await?;
        Ok(self.answer(head))
    }

    /// [`Self::exchange`] without a look at the answer.
    ///
    /// # Errors
    /// The same.
    pub async fn send(&mut self, request: &[u8], within: Duration) -> io::Result<Head> {
        self.closed = true;
        self.buffer.clear();
        let head = timeout(within, async {
            self.stream.write_all(request).await?;
            self.read_answer().await
        })
        .await
        .map_err(timed_out)??;
        self.closed = head.close || head.framing == Framing::UntilClose;
        self.rests_since = Instant::now();
        Ok(head)
    }

    /// The answer that [`Self::send`] has read.
    pub fn answer(&self, head: Head) -> Answer<'_> {
        let body = match head.framing {
            Framing::Length(length) => &self.buffer[head.bytes..head.bytes + length],
            Framing::UntilClose => &self.buffer[head.bytes..],
            Framing::Chunked => &self.body,
        };
        Answer { status: head.status, head: &self.buffer[..head.bytes], body }
    }

    async fn read_answer(&mut self) -> io::Result<Head> {
        loop {
            let head = match parse_head(&self.buffer)? {
                Some(head) if head.status < 200 => {
                    self.buffer.drain(..head.bytes);
                    continue;
                }
                Some(head) => head,
                None => {
                    self.more().await?;
                    continue;
                }
            };
            let end = match head.framing {
                Framing::Length(length) => Some(head.bytes + length),
                Framing::Chunked => match dechunk(&self.buffer[head.bytes..])? {
                    Some((body, encoded)) => {
                        self.body = body;
                        Some(head.bytes + encoded)
                    }
                    None => None,
                },
                Framing::UntilClose => {
                    while self.stream.read_buf(&mut self.buffer).await? > 0 {
                        check_size(self.buffer.len())?;
                    }
                    return Ok(head);
                }
            };
            match end {
                Some(end) if self.buffer.len() == end => return Ok(head),
                Some(end) if self.buffer.len() > end => {
                    return Err(bad("more bytes than the answer has"));
                }
                _ => self.more().await?,
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        check_size(self.buffer.len())?;
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
            _ => Ok(()),
        }
    }
}

fn check_size(bytes: usize) -> io::Result<()> {
    if bytes > limits::RESPONSE_BYTES_MAX + limits::HEAD_BYTES_MAX {
        return Err(bad("the answer is too large"));
    }
    Ok(())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn timed_out(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn urls_become_targets_or_a_sentence() {
        let target = |url: &str| Target::parse(url).map(|target| target.authority);
        assert_eq!(target("http://127.0.0.1:8080"), Ok("127.0.0.1:8080".to_owned()));
        assert_eq!(target("http://localhost/"), Ok("localhost:80".to_owned()));
        for url in ["", "127.0.0.1:8080", "https://a:1", "http://", "http://a:1/v1", "http://a@b:1"]
        {
            assert!(target(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_head_is_read_when_it_is_complete_and_not_before() {
        let text = b"HTTP/1.1 409 Conflict\r\nContent-LENGTH:  12\r\nConnection: close\r\n\r\nbody";
        for end in 0..text.len() - 4 {
            assert_eq!(parse_head(&text[..end]).expect("no error"), None, "{end}");
        }
        let head = parse_head(text).expect("no error").expect("complete");
        assert_eq!((head.status, head.framing, head.close), (409, Framing::Length(12), true));
        assert_eq!(&text[head.bytes..], b"body");
        assert_eq!(header(&text[..head.bytes], "content-length"), Some("12"));
        assert_eq!(header(&text[..head.bytes], "retry-after"), None);
    }

    #[test]
    fn answers_that_are_not_http_are_errors() {
        for text in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 \xff\r\n\r\n",
            &[b'x'; limits::HEAD_BYTES_MAX],
        ] {
            assert!(parse_head(text).is_err(), "{:?}", String::from_utf8_lossy(&text[..9]));
        }
    }

    #[test]
    fn chunks_are_joined_when_all_are_there() {
        let text = b"4\r\nWiki\r\n6;x=y\r\npedia \r\nB\r\nin chunks.\n\r\n0\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(dechunk(&text[..end]).expect("no error"), None, "{end}");
        }
        let (body, bytes) = dechunk(text).expect("no error").expect("complete");
        assert_eq!((body.as_slice(), bytes), (&b"Wikipedia in chunks.\n"[..], text.len()));
        for text in [&b"z\r\n"[..], b"\r\n\r\n", b"1\r\nabc\r\n", b"fffffffff\r\n"] {
            assert!(dechunk(text).is_err());
        }
    }

    async fn served(pieces: Vec<&'static [u8]>) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let authority = listener.local_addr().expect("address").to_string();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 64];
            for piece in pieces {
                let _ = socket.read(&mut request).await;
                socket.write_all(piece).await.expect("written");
            }
        });
        Connection::open(&Target { authority }).await.expect("connects")
    }

    #[tokio::test]
    async fn one_connection_carries_answers_of_every_framing() {
        let mut connection = served(vec![
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nthe rest",
        ])
        .await;
        let within = limits::ANSWER_TIMEOUT;
        for (status, body) in [(200, &b"abc"[..]), (200, b"de"), (204, b"")] {
            let answer = connection.exchange(b"GET", within).await.expect("answered");
            assert_eq!((answer.status, answer.body), (status, body));
            assert!(!connection.closed);
        }
        let answer = connection.exchange(b"GET", within).await.expect("answered");
        assert_eq!(answer.body, b"the rest");
        assert!(connection.closed);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_ended_while_it_was_idle_is_gone() {
        let mut connection = served(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
        assert!(!connection.is_gone());
        connection.exchange(b"GET", limits::ANSWER_TIMEOUT).await.expect("answered");
        // The server had one answer only, and hangs up behind it.
        connection.stream.readable().await.expect("the end can be read");
        assert!(connection.is_gone());
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error_and_so_is_more_than_one() {
        let within = limits::ANSWER_TIMEOUT;
        let mut half = served(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]).await;
        let error = half.exchange(b"GET", within).await.expect_err("hung up");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(half.closed);
        let mut two = served(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc"]).await;
        let error = two.exchange(b"GET", within).await.expect_err("too much");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
