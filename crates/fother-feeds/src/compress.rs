//! Decompression with a bound on what comes out; touches only the readers it is given.

use std::io::{self, BufReader, Read};

/// Largest index that is unpacked, in bytes.
pub const UNPACKED_BYTES_MAX: u64 = 512 << 20;
/// Most memory that an xz or zstd stream may ask for, in bytes.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// How a file is packed, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
    /// `.lz4`
    Lz4,
    /// `.bz2`: feeds of some vendors, never asked for from archives.
    Bzip2,
}

impl Compression {
    /// Those that archives and apt use, the ones to prefer on the wire first.
    pub const ALL: [Self; 5] = [Self::Xz, Self::Zstd, Self::Gzip, Self::Lz4, Self::Plain];

    /// The ending of a file's name, with its dot.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Lz4 => ".lz4",
            Self::Bzip2 => ".bz2",
        }
    }

    /// By the ending of a name; `None` for packed forms that are not read (`.lzma`).
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("gz") => Some(Self::Gzip),
            Some("xz") => Some(Self::Xz),
            Some("zst") => Some(Self::Zstd),
            Some("lz4") => Some(Self::Lz4),
            Some("bz2") => Some(Self::Bzip2),
            Some("lzma" | "Z") => None,
            _ => Some(Self::Plain),
        }
    }

    /// A reader of the unpacked bytes.
    ///
    /// # Errors
    /// Where the decompressor cannot be set up.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(MEMORY_BYTES_MAX, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::read::XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(packed))?;
                decoder.window_log_max(MEMORY_BYTES_MAX.ilog2())?;
                Box::new(decoder)
            }
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
            Self::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(packed)),
        })
    }

    /// Unpacks everything.
    ///
    /// # Errors
    /// Where the stream is damaged or more than `bytes_max` come out.
    pub fn unpack(self, packed: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
        if self == Self::Gzip {
            return gunzip(packed, bytes_max);
        }
        if self == Self::Lz4 && !lz4_is_whole(packed) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short"));
        }
        let mut bytes = Vec::with_capacity(packed.len().saturating_mul(4).min(64 << 20));
        self.reader(packed)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        bounded(bytes, bytes_max)
    }
}

/// Whether a frame's end mark is there: the decoder takes a cut between two blocks for the end
/// (LZ4 frame format: bit 2 of the flags says that four bytes of checksum follow the mark).
fn lz4_is_whole(packed: &[u8]) -> bool {
    let checksum = packed.get(4).map_or(0, |flags| usize::from(flags >> 2 & 1) * 4);
    let end = packed.len().saturating_sub(checksum);
    end >= 11 && packed.get(end - 4..end) == Some(&[0; 4])
}

fn gunzip(packed: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(packed.len().saturating_mul(4).min(64 << 20));
    flate2::bufread::MultiGzDecoder::new(packed).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    bounded(bytes, bytes_max)
}

fn bounded(bytes: Vec<u8>, bytes_max: u64) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it unpacks to more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_comes_out_is_bounded_and_damage_is_an_error() {
        let plain = vec![b'x'; 100_000];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&plain).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&plain).unwrap();
        let packed = [
            (Compression::Lz4, lz4.finish().unwrap()),
            (Compression::Gzip, gz.finish().unwrap()),
            (Compression::Xz, xz.finish().unwrap()),
            (Compression::Zstd, zstd::encode_all(plain.as_slice(), 1).unwrap()),
            (Compression::Plain, plain.clone()),
        ];
        for (kind, bytes) in packed {
            assert_eq!(kind.unpack(&bytes, 100_000).unwrap(), plain, "{kind:?}");
            assert!(kind.unpack(&bytes, 99_999).is_err(), "{kind:?}");
            if kind == Compression::Lz4 {
                assert!(kind.unpack(&bytes[..7], 100_000).is_err(), "the frame's header alone");
            }
            if kind != Compression::Plain {
                assert!(kind.unpack(&bytes[..bytes.len() - 5], 100_000).is_err(), "{kind:?} cut short");
            }
        }
    }
}
