//! AWS's own examples: the Signature Version 4 test suite, and those of the S3 and IAM guides.

use http::Request;

use super::*;
use crate::secrets::Placeholder;

const KEY: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TIME: &str = "20150830T123600Z";

fn placeholder() -> Placeholder {
    let text = format!("{}{}", crate::secrets::PREFIX, "0".repeat(32));
    text.parse().unwrap()
}

/// What a program would have written, with a signature of its own.
fn authorization(scope: &str, signed: &str) -> String {
    let (placeholder, signature) = (placeholder(), "0".repeat(64));
    format!(
        "AWS4-HMAC-SHA256 Credential={placeholder}/{scope}, SignedHeaders={signed}, Signature={signature}"
    )
}

/// The signature of a request of the suite.
fn signature(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = Request::builder().method(method).uri(path);
    let all = [("host", "example.amazonaws.com"), ("x-amz-date", TIME)];
    let mut names = Vec::new();
    for (name, value) in headers.iter().chain(&all) {
        request = request.header(*name, *value);
        names.push(*name);
    }
    names.sort_unstable();
    names.dedup();
    let scope = "20150830/us-east-1/service/aws4_request";
    let authorization = authorization(scope, &names.join(";"));
    let request = request.header("authorization", authorization);
    let (head, ()) = request.body(()).unwrap().into_parts();
    sign("AKIDEXAMPLE", KEY, &head, body)
}

fn sign(id: &str, key: &[u8], head: &request::Parts, body: &str) -> String {
    let asked = Asked::read(&head.headers, &placeholder()).unwrap();
    let payload = match &asked.payload {
        Payload::Hash(hash) => hash.clone(),
        Payload::Word(word) => (*word).to_owned(),
        Payload::Body => Payload::hash(body.as_bytes()),
    };
    let signer = SigV4::new(id).unwrap();
    let value = signer.authorization(key, &asked, head, &payload).unwrap();
    let text = value.to_str().unwrap();
    assert!(text.contains(&format!("Credential={id}/")), "{text}");
    let (_, signature) = text.rsplit_once("Signature=").unwrap();
    signature.to_owned()
}

#[test]
fn the_test_suite() {
    let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    for (method, path, expected) in [
        ("GET", "/", vanilla),
        (
            "GET",
            "/?Param1=value1",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/?Param1=value2&Param1=Value1",
            "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
        ),
        (
            "GET",
            "/?Param1=value2&Param1=value1",
            "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
        ),
        (
            "GET",
            "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\
             =-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        (
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        ("GET", "/example/..", vanilla),
        ("GET", "/example1/example2/../..", vanilla),
        ("GET", "//", vanilla),
        ("GET", "/./", vanilla),
        (
            "GET",
            "/./example",
            "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        ),
        (
            "GET",
            "//example//",
            "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        ),
        (
            "POST",
            "/",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "POST",
            "/?Param1=value1",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
    ] {
        assert_eq!(
            signature(method, path, &[], ""),
            expected,
            "{method} {path}"
        );
    }
}

#[test]
fn the_test_suites_headers_and_bodies() {
    for (method, headers, body, expected) in [
        (
            "GET",
            &[
                ("my-header1", "value2"),
                ("my-header1", "value2"),
                ("my-header1", "value1"),
            ][..],
            "",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "GET",
            &[
                ("my-header1", "  value1"),
                ("my-header2", " \"a   b   c\" "),
            ],
            "",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "POST",
            &[("my-header1", "value1")],
            "",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "POST",
            &[("my-header1", "VALUE1")],
            "",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "POST",
            &[("content-type", "application/x-www-form-urlencoded")],
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            "POST",
            &[(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf8",
            )],
            "Param1=value1",
            "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
        ),
    ] {
        assert_eq!(
            signature(method, "/", headers, body),
            expected,
            "{headers:?}"
        );
    }
}

/// "Authenticating requests: examples" of the S3 API reference: `GET Object`, and `PUT Object` whose key is encoded.
#[test]
fn the_examples_of_s3() {
    let key = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let scope = "20130524/us-east-1/s3/aws4_request";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let get = Request::get("/test.txt")
        .header("host", "examplebucket.s3.amazonaws.com")
        .header("range", "bytes=0-9")
        .header("x-amz-content-sha256", empty)
        .header("x-amz-date", "20130524T000000Z")
        .header(
            "authorization",
            authorization(scope, "host;range;x-amz-content-sha256;x-amz-date"),
        );
    let (head, ()) = get.body(()).unwrap().into_parts();
    assert_eq!(
        sign("AKIAIOSFODNN7EXAMPLE", key, &head, "not looked at"),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
    let put = Request::put("/test%24file.text")
        .header("host", "examplebucket.s3.amazonaws.com")
        .header("date", "Fri, 24 May 2013 00:00:00 GMT")
        .header(
            "x-amz-content-sha256",
            Payload::hash(b"Welcome to Amazon S3."),
        )
        .header("x-amz-date", "20130524T000000Z")
        .header("x-amz-storage-class", "REDUCED_REDUNDANCY")
        .header(
            "authorization",
            authorization(
                scope,
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            ),
        );
    let (head, ()) = put.body(()).unwrap().into_parts();
    assert_eq!(
        sign("AKIAIOSFODNN7EXAMPLE", key, &head, ""),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    );
}

/// "Examples of how to derive a signing key" of the AWS general reference.
#[test]
fn the_example_of_a_signing_key() {
    let asked = Request::get("/")
        .header("host", "iam.amazonaws.com")
        .header("x-amz-date", TIME)
        .header(
            "authorization",
            authorization("20150830/us-east-1/iam/aws4_request", "host"),
        );
    let (head, ()) = asked.body(()).unwrap().into_parts();
    let asked = Asked::read(&head.headers, &placeholder()).unwrap();
    assert_eq!(
        hex::encode(&asked.scope.key(KEY)[..]),
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    );
}

#[test]
fn http_2_has_its_host_elsewhere() {
    let signed = |uri: &str, host: bool| {
        let mut request = Request::get(uri).header("x-amz-date", TIME);
        if host {
            request = request.header("host", "example.amazonaws.com");
        }
        let scope = "20150830/us-east-1/service/aws4_request";
        let request = request.header("authorization", authorization(scope, "host;x-amz-date"));
        let (head, ()) = request.body(()).unwrap().into_parts();
        sign("AKIDEXAMPLE", KEY, &head, "")
    };
    assert_eq!(
        signed("/", true),
        signed("https://example.amazonaws.com/", false)
    );
}

#[test]
fn what_is_not_as_sdks_write_it_is_told() {
    let scope = "20150830/us-east-1/service/aws4_request";
    let good = authorization(scope, "host;x-amz-date");
    let read = |authorization: &str, time: &str, payload: Option<&str>| {
        let mut request = Request::get("/").header("authorization", authorization);
        request = request.header("x-amz-date", time);
        if let Some(payload) = payload {
            request = request.header("x-amz-content-sha256", payload);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Asked::read(&head.headers, &placeholder()).map(|asked| asked.payload)
    };
    assert_eq!(read(&good, TIME, None), Ok(Payload::Body));
    let trailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    assert_eq!(read(&good, TIME, Some(trailer)), Ok(Payload::Word(trailer)));
    for (text, error) in [
        (
            format!("Bearer {}", placeholder()),
            SigV4Error::Authorization,
        ),
        (
            good.replace("HMAC", "ECDSA-P256"),
            SigV4Error::Authorization,
        ),
        (
            good.replace(", Signature=", ", Sig="),
            SigV4Error::Authorization,
        ),
        (format!("{good}, Credential=x"), SigV4Error::Authorization),
        (
            good.replace(placeholder().as_str(), "AKIDEXAMPLE"),
            SigV4Error::Authorization,
        ),
        (good.replace("/us-east-1", ""), SigV4Error::Scope),
        (good.replace("us-east-1", "us east"), SigV4Error::Scope),
        (
            good.replace("aws4_request", "aws5_request"),
            SigV4Error::Scope,
        ),
        (good.replace("20150830", "20150831"), SigV4Error::Date),
        (good.replace("host;", ""), SigV4Error::SignedHeaders),
        (good.replace("host;", "host;;"), SigV4Error::SignedHeaders),
    ] {
        assert_eq!(read(&text, TIME, None), Err(error), "{text}");
    }
    assert_eq!(read(&good, "20150830", None), Err(SigV4Error::Date));
    let signed = Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_eq!(read(&good, TIME, signed), Err(SigV4Error::Streaming));
    assert_eq!(read(&good, TIME, Some("0")), Err(SigV4Error::PayloadHash));
    for id in ["", "AKID EXAMPLE", "AKID/EXAMPLE", &"A".repeat(129)] {
        assert_eq!(SigV4::new(id), Err(SigV4Error::KeyId));
    }
}
