//! Our identifiers, compared with those of atrium and against examples of the specifications.

use atrium_api::types::string as atrium;
use ipld_core::cid::multibase;
use plyr_likes::atproto::{AtUri, Cid, Did, Handle, Nsid, PublicKey, RecordKey, Tid, Timestamp};
use proptest::prelude::*;

/// Texts near the edge of being identifiers: of a form that is nearly right, or pieces that mean something, and characters
/// that do not belong.
fn near(form: &'static str, pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(pieces).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", " ", "é", "\0", "/", "A", "0", "-", ".", ":", "%", "~", "_", "#", "T", "z"]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9]{1,70}",
    ];
    prop_oneof![form, prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())]
}

fn agree<T, U>(text: &str, ours: &Result<T, impl std::fmt::Debug>, theirs: &Result<U, impl std::fmt::Debug>) {
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{text:?}: {:?} and {:?}", ours.as_ref().err(), theirs.as_ref().err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn dids_agree(text in near("did:[a-z]{0,4}[A-Z0-9]?:[a-zA-Z0-9._:%-]{0,20}", &["did:", "plc:", "web:", "example.com", "%3A", "8080", "abc", "key:", "a-b", "_"])) {
        agree(&text, &Did::parse(&text), &text.parse::<atrium::Did>());
    }

    #[test]
    fn handles_agree(text in near("[a-zA-Z0-9-]{0,4}(\\.[a-zA-Z0-9-]{1,4}){0,3}", &["alice", ".", ".", "bsky", "social", "1", "xn--a", "-", "com"])) {
        agree(&text, &Handle::parse_any_case(&text), &text.strip_prefix('@').unwrap_or(&text).parse::<atrium::Handle>());
    }

    #[test]
    fn nsids_agree(text in near("[a-zA-Z0-9-]{1,4}(\\.[a-zA-Z0-9-]{1,4}){1,3}", &["fm", ".", ".", "plyr", "like", "getLikes", "4", "a-b", "com"])) {
        agree(&text, &Nsid::parse(&text), &text.parse::<atrium::Nsid>());
    }

    #[test]
    fn record_keys_agree(text in near("[a-zA-Z0-9._~:-]{0,4}[/ #%]?[a-zA-Z0-9._~:-]{0,4}", &["self", ".", "..", "~", "3l3qo2vutsw2b", ":", "-", "_", "a"])) {
        agree(&text, &RecordKey::parse(&text), &text.parse::<atrium::RecordKey>());
    }

    #[test]
    fn tids_agree(text in "[2-7a-z]{12,14}|[0-9a-zA-Z]{13}|[2-7a-j][2-7a-z]{12}") {
        agree(&text, &Tid::parse(&text), &text.parse::<atrium::Tid>());
        if let Ok(tid) = Tid::parse(&text) {
            prop_assert_eq!(tid.to_string(), text);
            prop_assert_eq!(Tid::from_number(tid.number()), tid);
        }
    }

    /// Ours refuses texts beyond 64 characters; theirs refuses -10:00, where Hawaii is.
    #[test]
    fn datetimes_agree(text in near("[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,12})?(Z|[+-][0-2][0-9]:[0-6][0-9])", &["2024-09-09", "T", "t", "19:46:02", "23:59:60", "24:00:00", ".", "102", "Z", "+14:00", "-00:00", "-12:30", "+0100", "1985-13-01", "2023-02-29"])) {
        let zone = text.as_bytes().last_chunk::<6>();
        let is_tens_west = zone.is_some_and(|zone| zone[0] == b'-' && zone[2] == b'0');
        let apart = text.len() > 64 || is_tens_west;
        if !apart {
            agree(&text, &Timestamp::parse(&text), &text.parse::<atrium::Datetime>());
        }
    }

    #[test]
    fn a_timestamp_is_read_back(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
        let moment = Timestamp::from_micros(micros).unwrap();
        prop_assert_eq!(moment.micros(), micros);
        if micros >= -62_135_596_800_000_000 {
            prop_assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        }
    }

    #[test]
    fn a_cid_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let cid = Cid::of_record(&bytes);
        prop_assert_eq!(Cid::parse(&cid.to_string()), Ok(cid));
        prop_assert_eq!(Cid::from_bytes(&cid.to_bytes()), Ok(cid));
        prop_assert!(Cid::from_bytes(&[cid.to_bytes(), vec![0]].concat()).is_err());
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = (Did::parse(&text), Handle::parse(&text), Nsid::parse(&text), RecordKey::parse(&text), Tid::parse(&text));
        let _ = (Timestamp::parse(&text), Cid::parse(&text), AtUri::parse(&text), Cid::from_bytes(text.as_bytes()));
    }
}

#[test]
fn o14_timestamps_that_clients_write() {
    for (text, shown) in [
        ("2024-09-09T19:46:02.102Z", "2024-09-09T19:46:02.102Z"),
        ("2024-09-09T19:46:02+14:00", "2024-09-09T05:46:02Z"),
        ("2024-09-09T19:46:02.123456789-12:30", "2024-09-10T08:16:02.123456Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", "0000-12-31T10:00:00Z"),
        ("2099-12-31T23:59:59Z", "2099-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
    ] {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), shown, "{text}");
    }
    for text in [
        "",
        "2024-09-09",
        "2024-09-09T19:46:02",
        "2024-09-09T19:46Z",
        "2024-09-09 19:46:02Z",
        "2024-09-09t19:46:02Z",
        "2024-09-09T19:46:02z",
        "2024-09-09T19:46:02.Z",
        "2024-09-09T19:46:02-00:00",
        "2024-09-09T19:46:02+0100",
        "2024-09-09T19:46:02\u{2212}01:00",
        "2024-02-30T19:46:02Z",
        "2024-09-09T25:46:02Z",
        "0000-01-01T00:00:00+14:00",
        "-0001-01-01T00:00:00Z",
        "+12024-09-09T19:46:02Z",
        "9999-12-31T23:59:59-14:00",
        " 2024-09-09T19:46:02Z",
        "2024-09-09T19:46:02Z ",
        "1725911162",
    ] {
        assert!(Timestamp::parse(text).is_err(), "{text:?} was taken");
    }
    assert_eq!(Timestamp::from_micros(i64::MAX), None);
    assert_eq!(Timestamp::from_micros(i64::MIN), None);
}

#[test]
fn o16_record_keys_and_dids_at_the_edge() {
    assert!(RecordKey::parse(&"a".repeat(512)).is_ok());
    assert!(RecordKey::parse(&"a".repeat(513)).is_err());
    assert!(RecordKey::parse(".").is_err() && RecordKey::parse("..").is_err() && RecordKey::parse("").is_err());
    assert!(Did::parse("did:web:localhost%3A8080").is_ok());
    assert!(Did::parse(&format!("did:plc:{}", "a".repeat(2040))).is_ok());
    assert!(Did::parse(&format!("did:plc:{}", "a".repeat(2041))).is_err());
}

#[test]
fn o12_addresses_that_name_no_record_for_good() {
    let uri = AtUri::parse("at://did:web:localhost%3A8080/fm.plyr.track/3l3pte3p2e325").unwrap();
    assert_eq!(uri.did.as_str(), "did:web:localhost%3A8080");
    assert_eq!(uri.to_string(), "at://did:web:localhost%3A8080/fm.plyr.track/3l3pte3p2e325");
    for text in [
        "",
        "at://",
        "at://did:plc:abc",
        "at://did:plc:abc/fm.plyr.track",
        "at://did:plc:abc/fm.plyr.track/",
        "at://did:plc:abc/fm.plyr.track/a/b",
        "at://did:plc:abc/fm.plyr.track/a#b",
        "at://did:plc:abc/fm.plyr.track/a?b",
        "at://did:plc:abc/track/a",
        "at://alice.test/fm.plyr.track/a",
        "AT://did:plc:abc/fm.plyr.track/a",
        "https://plyr.fm/track/1",
    ] {
        assert!(AtUri::parse(text).is_err(), "{text:?} was taken");
    }
}

#[test]
fn cids_that_are_none() {
    let good = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a";
    assert!(Cid::parse(good).is_ok());
    for text in ["", "b", "bafyrei", &format!("/ipfs/{good}"), &format!("x/ipfs/{good}"), &good[..58], "not-a-cid!"] {
        assert!(Cid::parse(text).is_err(), "{text:?} was taken");
    }
    assert!(Cid::parse(&format!("z{}", "1".repeat(1 << 20))).is_err());
}

/// Keys of the specification, and of two DID documents.
#[test]
fn public_keys() {
    for (text, is_k256) in [
        ("zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc", true),
        ("zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo", false),
        ("zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF", true),
    ] {
        let key = PublicKey::parse(text).unwrap();
        assert_eq!(matches!(key, PublicKey::K256(_)), is_k256, "{text}");
        assert_eq!(key.to_string(), text);
        assert_eq!(PublicKey::parse(&format!("did:key:{text}")), Ok(key));
    }
    let good = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
    let long = format!("z{}", "1".repeat(1 << 20));
    let ed25519 = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    for text in ["", "z", "zQ3", &good[1..], &good[..47], &format!("did:web:{good}"), "mAAAA", ed25519, &long] {
        assert!(PublicKey::parse(text).is_err(), "{text:?} was taken");
    }
}

/// A point in the form of older documents, with an even and an odd y.
#[test]
fn public_keys_of_older_documents() {
    let text = |bytes: &[u8]| multibase::encode(multibase::Base::Base58Btc, bytes);
    for (y, first) in [(0x10, 2), (0x11, 3)] {
        let mut whole = [7; 65];
        (whole[0], whole[64]) = (4, y);
        let mut point = [7; 33];
        point[0] = first;
        assert_eq!(PublicKey::parse_point(&text(&whole), PublicKey::P256), Ok(PublicKey::P256(point)));
        assert_eq!(PublicKey::parse_point(&text(&point), PublicKey::K256), Ok(PublicKey::K256(point)));
    }
    for bytes in [&[][..], &[4; 64], &[4; 66], &[5; 65], &[4; 33], &[2; 65]] {
        assert!(PublicKey::parse_point(&text(bytes), PublicKey::K256).is_err(), "{bytes:?}");
    }
}
