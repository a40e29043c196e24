//! Takes the uncompressed ELF kernel out of a bzImage.
//!
//! A bzImage is a real-mode stub, then a small program with the compressed ELF file inside.
//! The setup header (Linux `Documentation/x86/boot.rst`) says where that payload lies. An ELF
//! kernel starts faster than a bzImage: nothing is decompressed by a virtual CPU.

use std::io::Read;

use thiserror::Error;

use super::lz4;

/// Offset of `setup_sects`: the size of the real-mode stub in sectors, less the boot sector.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the magic `HdrS`.
const HEADER_MAGIC: usize = 0x202;
/// Offset of `payload_offset` and, four bytes on, `payload_length` (boot protocol 2.08).
const PAYLOAD_OFFSET: usize = 0x248;
/// A kernel larger than this is no kernel. Debian's cloud kernel has 53 MB.
const KERNEL_LIMIT: usize = 512 << 20;

/// Why no kernel could be taken out.
#[derive(Debug, Error)]
pub enum Error {
    /// The setup header is missing or points outside the file.
    #[error("not a bzImage: {0}")]
    NotBzImage(&'static str),
    /// The payload starts with bytes that no known compressor writes.
    #[error("the kernel is compressed by an unknown method (first bytes {0:02x?})")]
    UnknownCompression([u8; 4]),
    /// The payload is damaged.
    #[error("the kernel's LZ4 payload cannot be read")]
    Lz4(#[from] lz4::Error),
    /// The payload is damaged.
    #[error("the kernel's payload cannot be read")]
    Io(#[from] std::io::Error),
    /// The payload decompressed to something else.
    #[error("the kernel's payload is not an ELF file")]
    NotElf,
}

/// Returns the ELF kernel inside `image`, a whole bzImage compressed by LZ4, xz, or zstd.
///
/// # Errors
/// [`Error`] when `image` is no bzImage, or is damaged, or uses another compressor.
pub fn extract_elf(image: &[u8]) -> Result<Vec<u8>, Error> {
    let payload = payload(image)?;
    let magic = *payload
        .first_chunk::<4>()
        .ok_or(Error::NotBzImage("empty payload"))?;
    let elf = match magic {
        lz4::MAGIC => lz4::decompress(payload, KERNEL_LIMIT)?,
        [0xfd, b'7', b'z', b'X'] => read_limited(xz2::read::XzDecoder::new(payload))?,
        [0x28, 0xb5, 0x2f, 0xfd] => {
            // A kernel image has the plain length behind the frame: one frame is all there is.
            read_limited(zstd::Decoder::with_buffer(payload)?.single_frame())?
        }
        [0x7f, b'E', b'L', b'F'] => payload.to_vec(),
        other => return Err(Error::UnknownCompression(other)),
    };
    if elf.starts_with(b"\x7fELF") {
        Ok(elf)
    } else {
        Err(Error::NotElf)
    }
}

fn payload(image: &[u8]) -> Result<&[u8], Error> {
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4) != Some(b"HdrS") {
        return Err(Error::NotBzImage("no setup header"));
    }
    // Zero means four sectors, for the sake of very old boot loaders.
    let sectors = match image.get(SETUP_SECTS) {
        Some(0) | None => 4,
        Some(&sectors) => usize::from(sectors),
    };
    let offset = (sectors + 1) * 512 + le32(image, PAYLOAD_OFFSET)?;
    let length = le32(image, PAYLOAD_OFFSET + 4)?;
    image
        .get(offset..)
        .and_then(|rest| rest.get(..length))
        .ok_or(Error::NotBzImage("the payload lies outside the file"))
}

fn le32(image: &[u8], offset: usize) -> Result<usize, Error> {
    image
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|bytes| u32::from_le_bytes(*bytes) as usize)
        .ok_or(Error::NotBzImage("the header is cut short"))
}

fn read_limited(reader: impl Read) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    reader.take(KERNEL_LIMIT as u64).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_with(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[SETUP_SECTS] = 1;
        image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET + 4..PAYLOAD_OFFSET + 8]
            .copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn a_zstd_payload_with_trailing_length() {
        let mut payload = zstd::encode_all(&b"\x7fELF kernel"[..], 1).unwrap();
        payload.extend(11u32.to_le_bytes());
        assert_eq!(
            extract_elf(&image_with(&payload)).unwrap(),
            b"\x7fELF kernel"
        );
    }

    #[test]
    fn unknown_compression_is_named() {
        let error = extract_elf(&image_with(&[1, 2, 3, 4])).unwrap_err();
        assert!(matches!(error, Error::UnknownCompression([1, 2, 3, 4])));
    }

    #[test]
    fn truncation_is_an_error() {
        let whole = image_with(b"\x7fELF");
        for end in 0..whole.len() {
            assert!(extract_elf(&whole[..end]).is_err());
        }
    }
}
