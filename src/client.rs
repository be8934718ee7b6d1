//! Who is at the other end: the one place that decides when a proxy is in between.
//!
//! What a proxy says of its client is believed only of a proxy that `server.trusted_proxies` names: anybody can send these headers. Each proxy
//! adds, at the right, whom it was asked by; so the client is the right-most address that is none of a trusted proxy, and what stands
//! left of it is the client's own invention.

use actix_web::{HttpRequest, http::header::HeaderMap, web::Data};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Whose word is taken for who their client is.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub address: Option<IpAddr>,
    /// Known of a client without a proxy.
    pub port: Option<u16>,
    /// It speaks TLS, with this server or with the proxy.
    pub is_https: bool,
}

impl TrustedProxies {
    /// Addresses and networks, such as `10.0.0.0/8`; the first that is neither is the error.
    pub fn parse<'a>(items: &'a [String]) -> Result<Self, &'a str> {
        let network = |item: &'a String| {
            let address = item.parse::<IpAddr>().map(IpNet::from);
            address
                .or_else(|_| item.parse())
                .map(|network| network.trunc())
                .map_err(|_| item.as_str())
        };
        items
            .iter()
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Client {
    /// The same for every part of the server that asks about this request.
    pub fn of(request: &HttpRequest) -> Self {
        let peer = request.peer_addr();
        let direct = Self {
            address: peer.map(|peer| peer.ip().to_canonical()),
            port: peer.map(|peer| peer.port()),
            is_https: request.app_config().secure(),
        };
        let proxies = request.app_data::<Data<TrustedProxies>>();
        proxies.map_or(direct, |proxies| direct.behind(proxies, request.headers()))
    }

    /// Address and port, as far as they are known.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        let address = self.address?;
        Some(SocketAddr::new(address, self.port.unwrap_or(0)))
    }

    fn behind(self, proxies: &TrustedProxies, headers: &HeaderMap) -> Self {
        if !self.address.is_some_and(|peer| proxies.has(peer)) {
            return self;
        }
        // A proxy that sets one of them passes the other on as its client made it up.
        match (forwarded(headers), x_forwarded(headers)) {
            (None, None) => self,
            (Some(hops), None) | (None, Some(hops)) => self.at_the_end_of(&hops, proxies),
            (Some(one), Some(other)) => {
                let (one, other) = (
                    self.at_the_end_of(&one, proxies),
                    self.at_the_end_of(&other, proxies),
                );
                if one == other { one } else { self }
            }
        }
    }

    /// Goes from proxy to proxy, the nearest first, as long as they are trusted.
    fn at_the_end_of(self, hops: &[Hop], proxies: &TrustedProxies) -> Self {
        let mut found = self;
        for hop in hops.iter().rev() {
            if let Some(is_https) = hop.is_https {
                found.is_https = is_https;
            }
            // Hidden or broken: the proxy that says so is the last that is known.
            let Some(address) = hop.address else {
                break;
            };
            (found.address, found.port) = (Some(address), None);
            if !proxies.has(address) {
                break;
            }
        }
        found
    }
}

/// What one proxy says of whoever asked it.
struct Hop {
    address: Option<IpAddr>,
    is_https: Option<bool>,
}

/// RFC 7239; `None` without such a header.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Hop>> {
    let all = joined(headers, "forwarded")?;
    let element = |element: &str| {
        let parameter = |name: &str| {
            let pairs = split(element, ';').into_iter();
            let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
            let (_, value) = pairs.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
            Some(value.trim().trim_matches('"'))
        };
        Hop {
            address: parameter("for").and_then(address),
            is_https: parameter("proto").map(is_https),
        }
    };
    Some(split(&all, ',').into_iter().map(element).collect())
}

/// `X-Forwarded-For` and `X-Forwarded-Proto`; `None` without either.
fn x_forwarded(headers: &HeaderMap) -> Option<Vec<Hop>> {
    let addresses = joined(headers, "x-forwarded-for");
    let schemes = joined(headers, "x-forwarded-proto");
    if addresses.is_none() && schemes.is_none() {
        return None;
    }
    let addresses = addresses.unwrap_or_default();
    let addresses: Vec<_> = addresses.split(',').map(address).collect();
    let schemes = schemes.map(|schemes| schemes.split(',').map(is_https).collect::<Vec<_>>());
    let schemes = schemes.unwrap_or_default();
    let hop = |(at, address)| Hop {
        address,
        is_https: if schemes.len() == addresses.len() {
            schemes.get(at).copied()
        } else {
            // Of one for all, the nearest proxy's word.
            schemes.last().copied()
        },
    };
    Some(addresses.iter().copied().enumerate().map(hop).collect())
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(name);
    // What is no text is no address either, but stays in its place.
    let values: Vec<_> = values.map(|value| value.to_str().unwrap_or("?")).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// At a separator outside of quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
    .collect()
}

fn is_https(scheme: &str) -> bool {
    scheme.trim().eq_ignore_ascii_case("https")
}

/// An address, maybe with a port, an IPv6 one maybe in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| text.trim_matches(['[', ']']).parse());
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    /// Who is seen behind a peer that says this; 10.0.0.0/8 and `fd00::1` are trusted.
    fn seen(peer: &str, headers: &[(&'static str, &str)]) -> (String, bool) {
        let proxies = ["10.0.0.0/8".to_owned(), "fd00::1".to_owned()];
        let proxies = TrustedProxies::parse(&proxies).expect("networks");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a value");
            map.append(HeaderName::from_static(name), value);
        }
        let peer: IpAddr = peer.parse().expect("an address");
        let direct = Client {
            address: Some(peer.to_canonical()),
            port: Some(1),
            is_https: false,
        };
        let client = direct.behind(&proxies, &map);
        let address = client.address.expect("an address");
        assert_eq!(client.port.is_some(), address == peer.to_canonical());
        (address.to_string(), client.is_https)
    }

    fn address_seen(peer: &str, headers: &[(&'static str, &str)]) -> String {
        seen(peer, headers).0
    }

    #[test]
    fn a_stranger_is_believed_nothing() {
        for header in ["x-forwarded-for", "forwarded"] {
            let headers = [
                (header, "for=1.1.1.1;proto=https"),
                ("x-forwarded-proto", "https"),
            ];
            assert_eq!(seen("192.0.2.1", &headers), ("192.0.2.1".to_owned(), false));
        }
        assert_eq!(
            address_seen("fd00::2", &[("x-forwarded-for", "1.1.1.1")]),
            "fd00::2"
        );
    }

    #[test]
    fn the_right_most_address_that_is_no_trusted_proxys_is_the_client() {
        for (list, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("1.1.1.1,192.0.2.1 , 10.9.9.9, fd00::1", "192.0.2.1"),
            ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:10.1.1.1", "10.1.1.1"),
            ("1.1.1.1, unknown", "10.0.0.1"),
            ("1.1.1.1, unknown, 10.3.3.3", "10.3.3.3"),
            ("1.1.1.1,", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            let headers = [("x-forwarded-for", list)];
            assert_eq!(address_seen("10.0.0.1", &headers), client, "{list}");
            assert_eq!(address_seen("::ffff:10.0.0.1", &headers), client, "{list}");
        }
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(
            address_seen("fd00::1", &lines),
            "192.0.2.1",
            "lines are one list"
        );
        assert_eq!(address_seen("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (value, client) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            (
                "for=1.1.1.1, by=10.0.0.1; for=192.0.2.1 ;proto=http",
                "192.0.2.1",
            ),
            ("for=192.0.2.1, for=10.2.2.2", "192.0.2.1"),
            ("for=1.1.1.1, for=_hidden", "10.0.0.1"),
            ("for=1.1.1.1, proto=https", "10.0.0.1"),
            ("for=\"1.1.1.1, for=192.0.2.1", "10.0.0.1"),
            ("host=\"a,for=1.1.1.1\";for=192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(
                address_seen("10.0.0.1", &[("forwarded", value)]),
                client,
                "{value}"
            );
        }
    }

    #[test]
    fn of_two_headers_that_do_not_agree_neither_is_believed() {
        let both = |one, other| {
            let headers = [("forwarded", one), ("x-forwarded-for", other)];
            address_seen("10.0.0.1", &headers)
        };
        assert_eq!(both("for=192.0.2.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(both("for=1.1.1.1", "192.0.2.1"), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_that_of_the_same_hop() {
        let https = |headers: &[(&'static str, &str)]| seen("10.0.0.1", headers).1;
        assert!(https(&[("x-forwarded-proto", "https")]));
        assert!(!https(&[("x-forwarded-proto", "http")]));
        assert!(https(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "HTTPS")
        ]));
        let proxied = ("x-forwarded-for", "192.0.2.1, 10.2.2.2");
        assert!(https(&[proxied, ("x-forwarded-proto", "https, http")]));
        let two = ("x-forwarded-for", "1.1.1.1, 192.0.2.1");
        assert!(https(&[two, ("x-forwarded-proto", "https")]), "one for all");
        assert!(
            !https(&[two, ("x-forwarded-proto", "https, http")]),
            "the left one is made up"
        );
        assert!(https(&[(
            "forwarded",
            "for=192.0.2.1;proto=https, for=10.2.2.2;proto=http"
        )]));
        assert!(!https(&[(
            "forwarded",
            "for=1.1.1.1;proto=https, for=192.0.2.1;proto=http"
        )]));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in ["proxy.example", "10.0.0.0/33", "10.0.0", ""] {
            let items = ["10.0.0.1".to_owned(), wrong.to_owned()];
            assert_eq!(TrustedProxies::parse(&items).err(), Some(wrong));
        }
        let items = ["10.1.2.3/8".to_owned()];
        let proxies = TrustedProxies::parse(&items).expect("a network");
        assert!(
            proxies.has("10.9.9.9".parse().expect("an address")),
            "host bits do not matter"
        );
    }
}
