//! What got out.

use crate::world::Seen;

/// What the servers may have been asked for, besides names below `wild.example`.
const ALLOWED: &[&str] = &["api.thaw.example"];
const WILD: &str = ".wild.example";
/// In the path of what must not arrive.
const FORBIDDEN: &str = "evil";
/// In the path of requests that carry a placeholder where it must stay one.
const WITHHELD: &str = "/p-";
/// In the path of a request that may have one value, and no more.
const ONCE: &str = "/p-twice";

/// Requests that a server should not have received, or not like that. `values` are the secrets'.
pub fn leaks<'a>(seen: &'a [Seen], values: &'a [&'a str]) -> impl Iterator<Item = &'a Seen> {
    seen.iter().filter(move |seen| is_leak(seen, values))
}

fn is_leak(seen: &Seen, values: &[&str]) -> bool {
    let host = seen.host.split(':').next().unwrap_or_default();
    let allowed = ALLOWED.contains(&host) || host.ends_with(WILD);
    let text = format!("{seen:?}");
    let found: usize = values.iter().map(|value| text.matches(value).count()).sum();
    let most = if !seen.path.contains(WITHHELD) && allowed && !host.ends_with(WILD) {
        usize::MAX
    } else if seen.path.contains(ONCE) {
        1
    } else {
        0
    };
    !allowed || seen.path.contains(FORBIDDEN) || found > most
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "the-value";

    fn leaks(host: &str, path: &str, header: &str) -> bool {
        let seen = Seen {
            sni: String::new(),
            version: "HTTP/1.1".into(),
            method: "GET".into(),
            host: host.into(),
            path: path.into(),
            headers: [("authorization".to_owned(), header.to_owned())].into(),
            body: String::new(),
        };
        is_leak(&seen, &[VALUE])
    }

    #[test]
    fn what_should_not_have_arrived_is_a_leak() {
        assert!(!leaks("api.thaw.example", "/echo", VALUE));
        assert!(!leaks("api.thaw.example:443", "/p-path", "placeholder"));
        assert!(leaks("api.thaw.example", "/p-path", VALUE));
        assert!(leaks("www.wild.example", "/echo", VALUE));
        assert!(!leaks("www.wild.example", "/echo", "placeholder"));
        assert!(leaks("other.thaw.example", "/", ""));
        assert!(leaks("api.thaw.example", "/evil", ""));
        assert!(!leaks("api.thaw.example", "/v1/p-twice", VALUE));
        assert!(leaks(
            "api.thaw.example",
            "/v1/p-twice",
            "the-value the-value"
        ));
    }
}
