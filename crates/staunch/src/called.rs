//! The services that Staunch calls: none of their addresses is ever touched, an isolation leaves them reachable, and no
//! domain of theirs is sinkholed.
//!
//! Never looks a name up.

use crate::config::Config;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// Its host, as names are compared: small letters, without a point at the end; or an address without brackets.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// What it is, for people.
    pub(crate) what: String,
    /// Whether it is called over UDP, as time servers and resolvers are.
    pub(crate) is_udp: bool,
}

/// Feeds, look-ups, notifiers, health signals, the Prometheus of conditions, the bucket of evidence, its anchors and
/// its time server, the resolver that sinkholes are asked of, the receiver of traces, and the proxies that the
/// environment names.
pub(crate) fn endpoints(config: &Config) -> Vec<Endpoint> {
    let feeds = config.feeds.iter().filter_map(|it| {
        let url = it.url.clone()?;
        Some((url, format!("the feed {}", it.name)))
    });
    let lookups = config.lookups.iter();
    let lookups = lookups.map(|it| (it.url().to_owned(), format!("the look-up {}", it.name)));
    let traces = config.telemetry.otlp.iter().cloned();
    let traces = traces.map(|url| (url, "the receiver of traces".to_owned()));
    let proxies = [
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "all_proxy",
        "https_proxy",
        "http_proxy",
    ];
    let proxies = proxies.into_iter().filter_map(|it| std::env::var(it).ok());
    // They may be written without a scheme.
    let proxies = proxies.map(|it| if it.contains("://") { it } else { format!("http://{it}") });
    let proxies = proxies.map(|url| (url, "a proxy of its environment".to_owned()));
    let notifiers = config.notifiers.iter();
    let notifiers = notifiers.map(|(name, it)| (it.url.clone(), format!("the notifier {name}")));
    let signals = config.health.iter();
    let signals = signals.map(|(name, it)| (it.url.clone(), format!("the health signal {name}")));
    let prometheus = config.prometheus.iter();
    let prometheus = prometheus.map(|it| (it.url.clone(), "the Prometheus of conditions".to_owned()));
    let bucket = config.evidence.s3.iter().filter(|_| config.evidence.enabled);
    let bucket = bucket.map(|it| (it.address(), "the bucket of evidence".to_owned()));
    let anchors = config.evidence.anchors.iter().filter(|_| config.evidence.enabled);
    let anchors = anchors.filter_map(|it| {
        let url = it.url.clone().or_else(|| it.repository.clone())?;
        Some((url, format!("the anchor {}", it.name)))
    });
    let clock = config.evidence.clock.iter().filter(|_| config.evidence.enabled);
    let clock = clock.map(|it| {
        let address = crate::clock_offset::address(it);
        (format!("ntp://{address}"), "the time server of evidence".to_owned())
    });
    let resolver = config.domains.resolver.iter().filter(|_| config.domains.enabled);
    let resolver = resolver.map(|it| (format!("dns://{it}"), "the resolver of sinkholes".to_owned()));
    let called = feeds
        .chain(bucket)
        .chain(resolver)
        .chain(clock)
        .chain(anchors)
        .chain(lookups)
        .chain(notifiers)
        .chain(signals)
        .chain(prometheus)
        .chain(traces)
        .chain(proxies);
    let mut all: Vec<Endpoint> = called.filter_map(|(url, what)| endpoint(&url, what)).collect();
    all.sort();
    all.dedup();
    all
}

fn endpoint(url: &str, what: String) -> Option<Endpoint> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => match scheme {
            "https" => 443,
            "http" => 80,
            "ssh" => 22,
            "ntp" => 123,
            "dns" => 53,
            _ => return None,
        },
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_udp = matches!(scheme, "ntp" | "dns");
    (!host.is_empty()).then_some(Endpoint {
        host,
        port,
        what,
        is_udp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_configured_to_be_called_is_told() {
        let text = "[notifiers.oncall]\nkind = \"webhook\"\nurl = \"https://hooks.example:8443/x\"\nkey_file = \"key\"\n\
                    [[routes]]\nto = [\"oncall\"]\n[[feeds]]\nname = \"drop\"\nurl = \"https://feeds.example/\"\n";
        let evidence = "[evidence.s3]\nendpoint = \"https://s3.example\"\nbucket = \"evidence\"\nkey_file = \"key\"\n\
                        path_style = false\n[[evidence.anchors]]\nname = \"elsewhere\"\nkind = \"git\"\n\
                        repository = \"ssh://git@vault.example/a.git\"\n";
        let others = "[[evidence.anchors]]\nname = \"tsa\"\nkind = \"rfc3161\"\nurl = \"https://tsa.example/tsr\"\n\
                      [[evidence.anchors]]\nname = \"copy\"\nkind = \"s3\"\nurl = \"https://b.s3.example\"\nkey_file = \"key\"\n\
                      [evidence]\nclock = \"time.example\"\n[domains]\nenabled = true\nresolver = \"192.0.2.53:5353\"\n\
                      [telemetry]\notlp = \"https://traces.example\"\n[health.shop]\nurl = \"https://shop.example/\"\n\
                      [prometheus]\nurl = \"https://metrics.example\"\n[[lookups]]\nname = \"abuse\"\nkind = \"abuseipdb\"\n\
                      key_file = \"key\"\n";
        let text = &format!("{text}{evidence}{others}");
        let config = crate::config::parse(text).unwrap_or_else(|_| panic!("{text}"));
        let told = endpoints(&config);
        let has = |host: &str, port, what: &str| {
            let place = |it: &Endpoint| (it.host.as_str(), it.port, it.what.as_str()) == (host, port, what);
            told.iter().any(place)
        };
        assert!(has("hooks.example", 8_443, "the notifier oncall"), "{told:?}");
        assert!(has("feeds.example", 443, "the feed drop"), "{told:?}");
        assert!(has("evidence.s3.example", 443, "the bucket of evidence"), "{told:?}");
        assert!(has("vault.example", 22, "the anchor elsewhere"), "{told:?}");
        assert!(has("tsa.example", 443, "the anchor tsa"), "{told:?}");
        assert!(has("b.s3.example", 443, "the anchor copy"), "{told:?}");
        assert!(has("time.example", 123, "the time server of evidence"), "{told:?}");
        assert!(has("192.0.2.53", 5_353, "the resolver of sinkholes"), "{told:?}");
        assert!(has("traces.example", 443, "the receiver of traces"), "{told:?}");
        assert!(has("shop.example", 443, "the health signal shop"), "{told:?}");
        assert!(has("metrics.example", 443, "the Prometheus of conditions"), "{told:?}");
        assert!(has("api.abuseipdb.com", 443, "the look-up abuse"), "{told:?}");
        let udp: Vec<_> = told.iter().filter(|it| it.is_udp).map(|it| it.host.as_str()).collect();
        assert_eq!(udp, ["192.0.2.53", "time.example"]);
    }

    #[test]
    fn services_are_read_out_of_addresses() {
        for (url, expect) in [
            ("https://feeds.example/a?b#c", Some(("feeds.example", 443))),
            ("http://192.0.2.1:4318", Some(("192.0.2.1", 4_318))),
            ("http://user:word@192.0.2.1/", Some(("192.0.2.1", 80))),
            ("https://[2001:db8::1]:8443/", Some(("2001:db8::1", 8_443))),
            ("https://[2001:db8::1]/", Some(("2001:db8::1", 443))),
            ("https://feeds.example/drop?x=a@b:1", Some(("feeds.example", 443))),
            ("https://Feeds.Example.:8443/", Some(("feeds.example", 8_443))),
            ("https://a:b/", None),
            ("https://:443/", None),
            ("socks5://192.0.2.1", None),
            ("no address", None),
            ("ntp://time.example:123", Some(("time.example", 123))),
        ] {
            let expect = expect.map(|(host, port)| Endpoint {
                host: host.to_owned(),
                port,
                what: String::new(),
                is_udp: url.starts_with("ntp:"),
            });
            assert_eq!(endpoint(url, String::new()), expect, "{url}");
        }
    }
}
