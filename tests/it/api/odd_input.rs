//! H1: text that the database cannot hold, and other odd input, is refused by name and breaks nothing, in every parameter.

use serde_json::Value;

use crate::support::api::{Api, tid};

/// As they stand in a query or a path.
const ODD: [&str; 9] =
    ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "%f0%9f%8e%b5", "%e2%80%ae", "'", "%0a", "..%2f..%2fetc"];

/// A value of a parameter that is as it should be.
fn good(path: &str, name: &str) -> String {
    match name {
        "actor" | "did" | "handle_or_did" | "artist_did" => "did:plc:artist".to_owned(),
        "uri" if path.starts_with("/lists") => format!("at://did:plc:artist/fm.plyr.list/{}", tid(5)),
        "uri" | "uris" => format!("at://did:plc:artist/fm.plyr.track/{}", tid(1)),
        "list" => format!("at://did:plc:artist/fm.plyr.list/{}", tid(5)),
        "track_id" => "1".to_owned(),
        _ => String::new(),
    }
}

/// The address with `odd` in one parameter, and the others as they should be.
fn address(path: &str, parameters: &[Value], odd_name: &str, odd: &str) -> String {
    let (mut address, mut query) = (path.to_owned(), Vec::new());
    for parameter in parameters {
        let name = parameter["name"].as_str().expect("a name");
        let value = if name == odd_name { odd.to_owned() } else { good(path, name) };
        if parameter["in"] == "path" {
            address = address.replace(&format!("{{{name}}}"), &value);
        } else {
            query.push(format!("{name}={value}"));
        }
    }
    format!("{address}?{}", query.join("&"))
}

#[tokio::test]
async fn h1_odd_text_in_every_parameter_is_refused_by_name() {
    let api = Api::start().await;
    let artist = api.actor("artist").await;
    let track = api.track(&artist, 1).await;
    api.list(&artist, 5, "liked", &[&track]).await;
    let token = api.token(&artist).await;
    let document = api.ok("/openapi.json").await;
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let Some(parameters) = methods["get"]["parameters"].as_array() else { continue };
        for parameter in parameters {
            let name = parameter["name"].as_str().expect("a name");
            for odd in ODD {
                tried += 1;
                let address = address(path, parameters, name, odd);
                let answer = api.client.get(format!("{}{address}", api.url)).bearer_auth(&token).send().await.unwrap();
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap();
                assert!(matches!(status, 200 | 400 | 422), "{address}: {status}: {text}");
                let body: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{address}: {why}: {text}"));
                let reason = body["detail"].as_str().or(body["message"].as_str());
                assert!(status == 200 || reason.unwrap().starts_with(name), "{address}: {text}");
                assert!(status != 200 || ["type", "listType"].contains(&name) && !odd.contains("%00"), "{address}");
            }
        }
    }
    assert!(tried > 200, "{tried}");
}
