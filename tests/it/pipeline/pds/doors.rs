//! B9: no untrusted document gets us to ask a host that is not public.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use plyr_likes::{
    atproto::Did,
    pds::{DidDocument, HostError, HostUrl, Names, Request, Server, Trust, XrpcError, is_own, is_public},
};

use super::{ManualClock, client, names, options, request};
use crate::support::host::{Host, Reply};

#[test]
fn b9_addresses_that_are_not_public() {
    let refused = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    for address in refused {
        assert!(!is_public(address.parse::<IpAddr>().unwrap()), "{address} is taken for public");
    }
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "128.0.0.1",
        "169.253.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "2001:4860:4860::8888",
    ];
    for address in public {
        assert!(is_public(address.parse::<IpAddr>().unwrap()), "{address} is not taken for public");
    }
}

#[test]
fn b9_this_machines_own_addresses_are_known() {
    // From here packets would leave, wherever they would go.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let outward = socket.connect("198.51.100.7:443").and_then(|()| socket.local_addr()).map(|address| address.ip());
    for own in [Ok("127.0.0.1".parse().unwrap()), outward].into_iter().flatten() {
        assert!(is_own(own), "{own}");
    }
    for other in ["1.1.1.1", "198.51.100.7", "2606:4700:4700::1111", "::ffff:8.8.8.8"] {
        assert!(!is_own(other.parse().unwrap()), "{other}");
    }
}

#[tokio::test]
async fn b9_a_port_of_another_service_is_not_asked() {
    let guarded = client(options(false), &names(&[("a.example", &["1.1.1.1"])], &[]), &ManualClock::new());
    for port in [1, 22, 25, 53, 80, 389, 1023] {
        let answer = guarded.fetch(request(&format!("https://a.example:{port}/"))).await;
        assert_eq!(answer, Err(HostError::BadUrl("its port is that of another service")), "{port}");
    }
    // The port of its scheme, and those that anyone may open.
    let other = client(options(false), &names(&[("a.example", &["127.0.0.1"])], &[]), &ManualClock::new());
    for url in ["https://a.example:443/", "https://a.example/", "https://a.example:8443/"] {
        assert_eq!(other.fetch(request(url)).await, Err(HostError::AddressRefused), "{url}");
    }
}

#[tokio::test]
async fn b9_an_address_in_place_of_a_name() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let port = host.address.port();
    let manual_clock = ManualClock::new();
    let guarded = client(options(false), &names(&[], &[]), &manual_clock);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "[::1]",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fe80::1]",
        "[fd00::1]",
        "192.168.1.1",
        "[64:ff9b::7f00:1]",
    ];
    for name in hosts {
        let answer = guarded.fetch(request(&format!("https://{name}:{port}/"))).await;
        assert_eq!(answer, Err(HostError::AddressRefused), "{name}");
    }
    let plain = guarded.fetch(request(&format!("http://127.0.0.1:{port}/"))).await;
    assert!(matches!(plain, Err(HostError::BadUrl(_))), "{plain:?}");
    assert_eq!(host.connections(), 0);
    // The same door, opened by a developer: the host was there all the time.
    let open = client(options(true), &names(&[], &[]), &manual_clock);
    assert_eq!(open.fetch(request(&host.url())).await, Ok(b"{}".to_vec()));
}

#[tokio::test]
async fn b9_a_name_that_leads_inside() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let port = host.address.port();
    let inside = names(
        &[
            ("loopback.example", &["127.0.0.1"]),
            ("metadata.example", &["169.254.169.254"]),
            ("six.example", &["::1", "::ffff:127.0.0.1", "fd00::1"]),
            ("localhost", &["127.0.0.1", "::1"]),
        ],
        &[],
    );
    let guarded = client(options(false), &inside, &ManualClock::new());
    for name in ["loopback.example", "metadata.example", "six.example", "localhost"] {
        let answer = guarded.fetch(request(&format!("https://{name}:{port}/"))).await;
        assert_eq!(answer, Err(HostError::AddressRefused), "{name}");
    }
    assert_eq!(host.connections(), 0);
}

/// The name servers say a public address (where no host is) when it is asked with whom the host shares its limits and once more, and then ours:
/// the look-up of each connection is checked, and there is no second one between the check and the connection.
#[tokio::test]
async fn b9_a_name_that_changes_its_mind() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let port = host.address.port();
    let looked_up = Arc::new(AtomicUsize::new(0));
    let count = looked_up.clone();
    let fickle = Names::of(
        move |_| {
            let address = if count.fetch_add(1, Ordering::SeqCst) < 2 { "2a00::1" } else { "127.0.0.1" };
            Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
        },
        |_| Box::pin(async { Ok(Vec::new()) }),
    );
    let guarded = client(options(false), &fickle, &ManualClock::new());
    let url = format!("https://rebinding.example:{port}/");
    let first = guarded.fetch(request(&url)).await;
    assert!(matches!(first, Err(HostError::Unreachable(_) | HostError::TimedOut)), "{first:?}");
    assert_eq!(looked_up.load(Ordering::SeqCst), 2, "one look-up for one connection");
    assert_eq!(guarded.fetch(request(&url)).await, Err(HostError::AddressRefused));
    assert_eq!((looked_up.load(Ordering::SeqCst), host.connections()), (3, 0));
}

/// Even a host of the settings leads nowhere inside.
#[tokio::test]
async fn b9_a_redirect_inside() {
    let inside = Host::start(|_| Reply::ok("secret")).await;
    let port = inside.address.port();
    let targets = [
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        format!("https://inside.example:{port}/"),
        format!("//127.0.0.1:{port}/"),
    ];
    let places = targets.clone();
    let outside = Host::start(move |asked| Reply::redirect(&places[asked.number])).await;
    let guarded = client(options(false), &names(&[("inside.example", &["127.0.0.1"])], &[]), &ManualClock::new());
    for target in &targets {
        let answer = guarded.fetch(Request::new(outside.url().parse().unwrap(), Trust::Operator)).await;
        assert!(matches!(answer, Err(HostError::AddressRefused | HostError::BadUrl(_))), "{target}: {answer:?}");
    }
    assert_eq!((outside.asked().len(), inside.connections()), (targets.len(), 0));
}

#[tokio::test]
async fn b9_a_document_that_names_a_private_pds() {
    let host = Host::start(|_| Reply::ok("{}")).await;
    let did = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
    let guarded = client(options(false), &names(&[("inside.example", &["10.0.0.8"])], &[]), &ManualClock::new());
    for name in ["127.0.0.1", "169.254.169.254", "[::1]", "inside.example"] {
        let url = format!("https://{name}:{}", host.address.port());
        let document = serde_json::json!({
            "id": did,
            "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url}],
        });
        let document = DidDocument::parse(&did, document.to_string().as_bytes()).unwrap();
        let pds: HostUrl = document.pds.unwrap();
        let answer = Server::untrusted(guarded.clone(), pds).fetch_latest_commit(&did).await;
        assert_eq!(answer, Err(XrpcError::Host(HostError::AddressRefused)), "{name}");
    }
    assert_eq!(host.connections(), 0);
}
