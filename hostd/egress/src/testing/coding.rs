//! Compressed bodies.

use compression_codecs::brotli::params::EncoderParams;
use compression_codecs::core::Level;
use compression_codecs::core::util::PartialBuffer;
use compression_codecs::flate::params::FlateEncoderParams;
use compression_codecs::{
    BrotliEncoder, DeflateEncoder, Encode, GzipEncoder, ZlibEncoder, ZstdEncoder,
};

fn encode(mut encoder: impl Encode, bytes: &[u8]) -> Vec<u8> {
    let mut output = PartialBuffer::new(vec![0; bytes.len() + 1000]);
    encoder
        .encode(&mut PartialBuffer::new(bytes), &mut output)
        .unwrap();
    while !encoder.finish(&mut output).unwrap() {}
    output.written().to_vec()
}

/// These bytes in every coding, and `deflate` in both of its meanings.
pub(crate) fn encoded(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flate = || FlateEncoderParams::from(Level::Default);
    let brotli = || BrotliEncoder::new(EncoderParams::default().quality(Level::Precise(5)));
    vec![
        ("gzip", encode(GzipEncoder::new(flate()), bytes)),
        ("deflate", encode(ZlibEncoder::new(flate()), bytes)),
        ("deflate", encode(DeflateEncoder::new(flate()), bytes)),
        ("br", encode(brotli(), bytes)),
        ("zstd", encode(ZstdEncoder::new(3), bytes)),
    ]
}

/// A gzip stream that is flushed after each of these pieces: what a server of events sends.
pub(crate) fn flushed(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut encoder = GzipEncoder::new(FlateEncoderParams::from(Level::Default));
    let mut parts = Vec::new();
    for piece in pieces {
        let mut output = PartialBuffer::new(vec![0; piece.len() + 1000]);
        let mut input = PartialBuffer::new(piece.as_bytes());
        encoder.encode(&mut input, &mut output).unwrap();
        while !encoder.flush(&mut output).unwrap() {}
        parts.push(output.written().to_vec());
    }
    parts
}
