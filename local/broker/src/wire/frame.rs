//! Requests and responses on the socket: a size (i32), then as many bytes.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads one frame of at most `limit` bytes; `None` where the peer has closed in between two.
///
/// Memory is taken as bytes arrive, not as the size promises.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> io::Result<Option<Bytes>> {
    let size = match stream.read_i32().await {
        Ok(size) => size,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = usize::try_from(size).ok().filter(|n| *n <= limit).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a request of {size} bytes, of at most {limit}"),
        )
    })?;
    let mut frame = BytesMut::with_capacity(size.min(64 << 10));
    let mut rest = stream.take(size as u64);
    while frame.len() < size {
        if frame.capacity() == frame.len() {
            frame.reserve(frame.len().min(size - frame.len()));
        }
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}
