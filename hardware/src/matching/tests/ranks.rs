//! The order of images.

use super::*;

fn order(images: &[ImageNeeds], ranking: Ranking<'_>) -> Vec<String> {
    let (inventory, model) = (server(), model(""));
    let nodes = [node(&inventory, Some(&model))];
    let fleet = Fleet::new(SITE, &nodes, images);
    fleet
        .rank(0, ranking)
        .into_iter()
        .map(|(place, _)| images[place].id.clone())
        .collect()
}

fn images() -> Vec<ImageNeeds> {
    let of = |id: &str, change: fn(&mut ImageNeeds)| {
        let mut image = image(id);
        image.project = "platform".to_owned();
        change(&mut image);
        image
    };
    vec![
        of("1-old", |i| i.family = Some("debian".to_owned())),
        of("2-new", |i| i.family = Some("debian".to_owned())),
        of("3-held", |i| {
            i.family = Some("debian".to_owned());
            i.exclude_from_latest = true;
        }),
        of("4-own", |i| {
            i.project = "web".to_owned();
            i.visibility = "private".to_owned();
        }),
        of("5-verified", |i| i.verified_on.push("Example Rack 1".to_owned())),
        of("6-shared", |i| i.visibility = "shared".to_owned()),
        of("7-market", |i| i.visibility = "marketplace".to_owned()),
        of("8-small", |i| i.disk_bytes = 1 << 20),
        of("9-arm", |i| {
            i.architecture = "aarch64".to_owned();
            i.project = "web".to_owned();
        }),
    ]
}

#[test]
fn own_then_verified_then_newest_then_smaller() {
    let expected = [
        "4-own",
        "5-verified",
        "8-small",
        "2-new",
        "6-shared",
        "7-market",
        "3-held",
        "1-old",
        "9-arm",
    ];
    assert_eq!(order(&images(), Ranking::default()), expected);
    let mut turned = images();
    turned.reverse();
    assert_eq!(order(&turned, Ranking::default()), expected);
}

#[test]
fn a_pin_and_an_intent_come_first_and_never_before_what_fits() {
    let first = |pin, intent| order(&images(), Ranking { pin, intent })[0].clone();
    assert_eq!(first(Some("1-old"), None), "1-old");
    assert_eq!(first(Some("9-arm"), None), "4-own");
    assert_eq!(first(None, Some(Intent::Marketplace)), "7-market");
    assert_eq!(first(None, Some(Intent::Shared)), "6-shared");
    assert_eq!(first(None, Some(Intent::Clean)), "5-verified");
    assert_eq!(first(None, Some(Intent::Replicate)), "4-own");
}
