use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Whether an address is one of the public internet: what an untrusted document names must not lead to this machine, its neighbours, or
/// what they believe about who may ask them.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Whether an address is one of this machine's. No packet is sent: from where the system would send one to itself, it says.
pub fn is_own(address: IpAddr) -> bool {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 443))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

/// Whether what an untrusted document names may be connected to.
pub(super) fn may_connect(address: IpAddr) -> bool {
    is_public(address) && !is_own(address)
}

/// The special-purpose registry of IANA, whatever in it is not plainly global.
#[expect(clippy::match_same_arms, reason = "an arm for each kind, as the registry has them")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback; multicast, reserved, broadcast.
        [0 | 10 | 127 | 224.., ..] => false,
        // Carriers' shared space.
        [100, 64..=127, ..] => false,
        // Link-local, where clouds keep their metadata.
        [169, 254, ..] => false,
        [172, 16..=31, ..] => false,
        // Private; protocol assignments, documentation, the anycast of 6to4.
        [192, 168, ..] | [192, 0, 0 | 2, _] | [192, 88, 99, _] => false,
        // Benchmarks; documentation.
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        _ => true,
    }
}

/// Of IPv6, only what is given out to networks. An address that carries one of IPv4 is as good as that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    match address.segments() {
        // NAT64 under its well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Teredo and other protocol assignments, documentation, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}
