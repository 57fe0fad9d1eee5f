//! `docs/image-service.md` names every row that the image service answers for, and tests that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The rows that the image service answers for: those of its catalogue and its bills, without capture from a server and
/// without what needs a deployed system.
const ROWS: [u32; 60] = [
    1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 19, 20, 24, 25, 26, 27, 28, 29, 30, 31, 32, 36, 39, 41, 43, 44,
    45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 69, 70, 71, 75,
    77, 78, 81, 82, 83, 94,
];

/// What is done with images: the route, the method, the command. One without a command of its own is a part of another one.
const VERBS: [(&str, &str, &str); 49] = [
    ("get /v1/images", "Images.ListImages", "image list"),
    ("post /v1/images", "Imports.ImportFile", "image import"),
    ("post /v1/imports", "Imports.StartImport", "image import"),
    ("get /v1/images/{image}", "Images.GetImage", "image show"),
    ("patch /v1/images/{image}", "Images.UpdateImage", "image update"),
    ("delete /v1/images/{image}", "Images.DeleteImage", "image delete"),
    ("post /v1/images/compose", "Images.ComposeImage", "image compose"),
    (
        "post /v1/images/{image}/activate",
        "Images.ActivateImage",
        "image activate",
    ),
    (
        "post /v1/images/{image}/deactivate",
        "Images.DeactivateImage",
        "image deactivate",
    ),
    (
        "post /v1/images/{image}/deprecate",
        "Images.DeprecateImage",
        "image deprecate",
    ),
    (
        "post /v1/images/{image}/obsolete",
        "Images.ObsoleteImage",
        "image obsolete",
    ),
    (
        "get /v1/images/{image}/transitions",
        "Images.GetImage",
        "image show",
    ),
    (
        "delete /v1/images/{image}/transitions",
        "Images.CancelImageTransitions",
        "image unplan",
    ),
    (
        "delete /v1/images/{image}/transitions/{state}",
        "Images.CancelImageTransitions",
        "image unplan",
    ),
    ("get /v1/families", "Images.ListFamilies", "image families"),
    ("get /v1/families/{family}", "Images.GetFamily", "image families"),
    (
        "get /v1/images/{image}/content",
        "Copies.ReadContent",
        "image export",
    ),
    (
        "head /v1/images/{image}/content",
        "Copies.ReadContent",
        "image export",
    ),
    (
        "get /v1/images/{image}/content/sum",
        "Copies.GetContentSum",
        "image export",
    ),
    (
        "post /v1/images/{image}/export",
        "Copies.ExportImage",
        "image export",
    ),
    ("post /v1/images/{image}/copy", "Copies.CopyImage", "image copy"),
    (
        "get /v1/images/{image}/facts",
        "ImageContents.GetImageFacts",
        "image facts",
    ),
    (
        "get /v1/images/{image}/lint",
        "ImageContents.GetImageLint",
        "image lint",
    ),
    (
        "get /v1/images/{image}/sbom",
        "ImageContents.GetImageSbom",
        "image sbom",
    ),
    (
        "get /v1/images/{image}/members",
        "Sharing.ListMembers",
        "image members",
    ),
    (
        "post /v1/images/{image}/members",
        "Sharing.InviteMembers",
        "image share",
    ),
    (
        "get /v1/images/{image}/members/{project}",
        "Sharing.GetMember",
        "image members",
    ),
    (
        "put /v1/images/{image}/members/{project}",
        "Sharing.AnswerInvitation",
        "image accept",
    ),
    (
        "delete /v1/images/{image}/members/{project}",
        "Sharing.RemoveMember",
        "image unshare",
    ),
    (
        "get /v1/invitations",
        "Sharing.ListInvitations",
        "image invitations",
    ),
    (
        "post /v1/images/{image}/publish",
        "Sharing.PublishImage",
        "image publish",
    ),
    (
        "post /v1/images/{image}/unpublish",
        "Sharing.UnpublishImage",
        "image unpublish",
    ),
    (
        "get /v1/images/{image}/entitlements",
        "Sharing.ListEntitlements",
        "image entitlements",
    ),
    (
        "put /v1/images/{image}/entitlements/{project}",
        "Sharing.GrantEntitlement",
        "image entitle",
    ),
    (
        "delete /v1/images/{image}/entitlements/{project}",
        "Sharing.RevokeEntitlement",
        "image disentitle",
    ),
    (
        "get /v1/images/{image}/preflight",
        "Sharing.PreflightImage",
        "image preflight",
    ),
    ("get /v1/images/{image}/match", "Matching.MatchImage", "match"),
    ("get /v1/jobs", "Jobs.ListJobs", "job list"),
    ("get /v1/jobs/{job}", "Jobs.GetJob", "job show"),
    ("post /v1/jobs/{job}/cancel", "Jobs.CancelJob", "job cancel"),
    ("get /v1/quota", "Billing.GetQuota", "quota show"),
    (
        "put /v1/projects/{project}/quota",
        "Billing.SetQuota",
        "quota set",
    ),
    ("get /v1/usage", "Billing.GetUsage", "usage"),
    ("get /v1/usage/records", "Billing.ListUsageRecords", "usage"),
    ("get /v1/store", "Store.GetStore", "store show"),
    ("post /v1/store/verify", "Store.VerifyStore", "store verify"),
    ("post /v1/store/gc", "Store.CollectGarbage", "store gc"),
    ("post /v1/deployments", "Deployments.CreateDeployment", "deploy"),
    (
        "get /v1/deployments",
        "Deployments.ListDeployments",
        "deployment list",
    ),
];

/// Not operations, but how their bytes travel: pieces of a file, what regions say to each other, what agents fetch.
const CARRIERS: [&str; 4] = [
    "/v1/uploads",
    "/v1/transfers",
    "/v1/store/manifests",
    "/v1/store/packs",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Row, what it is about, the tests that are named.
fn rows(text: &str) -> Vec<(u32, String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", number, what, tests, ""] = cells.as_slice() else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let tests = tests.split(',').map(|test| {
            let name = test
                .trim()
                .strip_prefix('`')
                .and_then(|test| test.strip_suffix('`'));
            name.unwrap_or_else(|| panic!("row {number} names something that is no test: {test}"))
                .to_owned()
        });
        rows.push((number, (*what).to_owned(), tests.collect()));
    }
    rows
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, all);
            }
        } else if name.ends_with(".rs") {
            all.push(path);
        }
    }
}

/// Every function below a `#[test]` or `#[tokio::test]`, and where it is.
fn tests() -> BTreeMap<String, PathBuf> {
    let mut files = Vec::new();
    sources(&repository(), &mut files);
    let mut tests = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test) {
                let end = name.find('(').unwrap_or(name.len());
                tests.insert(name[..end].to_owned(), file.clone());
                is_test = false;
            }
        }
    }
    assert!(tests.len() > 100, "the tests were not found");
    tests
}

#[test]
fn every_row_is_there_once_and_its_tests_exist() {
    let text = fs::read_to_string(repository().join("docs/image-service.md")).expect("the table");
    let (rows, tests) = (rows(&text), tests());
    let mut seen = BTreeSet::new();
    for (number, what, named) in &rows {
        assert!(seen.insert(*number), "row {number} is there twice");
        assert!(
            what.len() > 10 && !what.contains("partly"),
            "row {number}: {what}"
        );
        for name in named {
            assert!(
                tests.contains_key(name),
                "row {number} names {name}, which is no test"
            );
        }
    }
    for number in &ROWS {
        assert!(seen.contains(number), "row {number} is missing");
    }
    let order: Vec<u32> = rows.iter().map(|(number, ..)| *number).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_test_that_names_rows_is_named_by_these_rows() {
    let text = fs::read_to_string(repository().join("docs/image-service.md")).expect("the table");
    for (number, _, named) in rows(&text) {
        for name in named {
            let Some(rest) = name.strip_prefix("row_").or_else(|| name.strip_prefix("rows_")) else {
                continue;
            };
            let words = rest.split('_').filter(|word| *word != "and");
            let numbers: Vec<u32> = words.map_while(|word| word.parse().ok()).collect();
            assert!(
                numbers.contains(&number),
                "row {number} names {name}, which is about {numbers:?}"
            );
        }
    }
}

#[test]
fn every_verb_is_there_in_rest_grpc_and_the_command() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap_or_else(|_| panic!("{path}"));
    let document: Value = serde_json::from_str(&read("controller/openapi.json")).expect("a document");
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            routes.insert(format!("{method} {path}"));
        }
    }
    let mut methods = BTreeSet::new();
    for entry in fs::read_dir(repository().join("proto/proto/imprint/v1")).expect("protos") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a proto");
        let mut service = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.trim_end_matches(['{', ' ']).to_owned();
            } else if let Some((name, _)) = line.strip_prefix("rpc ").and_then(|rest| rest.split_once('(')) {
                methods.insert(format!("{service}.{name}"));
            }
        }
    }
    let help = read("cli/src/snapshots/imprint__arguments__tests__help.snap");
    for (route, method, command) in VERBS {
        assert!(routes.contains(route), "there is no route {route}");
        assert!(methods.contains(method), "there is no method {method}");
        assert!(
            help.contains(&format!("$ imprint {command} --help\n")),
            "there is no command {command}"
        );
    }
    // Nothing is there in one of them only.
    let known: BTreeSet<&str> = VERBS.iter().map(|(route, ..)| *route).collect();
    for route in &routes {
        let path = route.split_once(' ').map_or("", |(_, path)| path);
        let about_images = [
            "/v1/images",
            "/v1/imports",
            "/v1/families",
            "/v1/invitations",
            "/v1/jobs",
            "/v1/store",
            "/v1/usage",
            "/v1/quota",
        ]
        .iter()
        .any(|start| path.starts_with(start));
        let carries = CARRIERS.iter().any(|start| path.starts_with(start));
        assert!(
            !about_images || carries || known.contains(route.as_str()),
            "{route} has no method and no command"
        );
    }
}
