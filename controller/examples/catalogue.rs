//! How fast is a catalogue of many images asked? Fills one in a folder, asks it through the REST router in this process, as
//! tenants and as an administrator, and prints milliseconds as JSON: of the clock, and of processor time, which other
//! programs on the same machine change less. For `cargo xtask bench catalog`.
//!
//! ```text
//! catalogue FOLDER IMAGES TENANTS REQUESTS
//! ```

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use axum::{Router, body::Body};
use http::{Request, header};
use http_body_util::BodyExt;
use imprint_controller::{api::rest, app::App};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use sqlx::{QueryBuilder, Sqlite};
use tower::ServiceExt;

/// Packages in each image: those of a small server.
const PACKAGES: usize = 100;
/// Requests of each kind that are not counted.
const WARM_UP: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, images, tenants, requests] = arguments.as_slice() else {
        anyhow::bail!("give FOLDER IMAGES TENANTS REQUESTS");
    };
    let (images, tenants, requests): (usize, usize, usize) =
        (images.parse()?, tenants.parse()?, requests.parse()?);
    let app = App::for_test(Path::new(folder)).await;
    let begun = Instant::now();
    let filled = fill(&app, images, tenants).await?;
    // As every controller does that has ended once.
    sqlx::query("ANALYZE").execute(&app.db).await?;
    eprintln!("{images} images in {:.1} s", begun.elapsed().as_secs_f64());
    let router = rest::router(app.clone(), Router::new());
    let mut results = Vec::new();
    for (name, path) in KINDS {
        let mut times = Vec::new();
        let (mut items, mut busy_ms) = (0, 0.0);
        for n in 0..requests + WARM_UP {
            let tenant = n % filled.tokens.len();
            let path = path
                .replace("{n}", &(n * 7919 % images).to_string())
                .replace("{page}", &filled.ids[n * 7919 % images])
                .replace("{id}", &filled.own[tenant]);
            let (begun, busy) = (Instant::now(), busy_now()?);
            let answer = ask(&router, &filled.tokens[tenant], &path).await?;
            if n >= WARM_UP {
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
                busy_ms += busy_now()? - busy;
                items += answer["items"].as_array().map_or(1, Vec::len);
            }
        }
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        results.push(json!({
            "name": name, "path": path, "requests": times.len(), "items": items as f64 / times.len() as f64,
            "busy_ms": busy_ms / times.len() as f64, "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0),
        }));
    }
    println!(
        "{}",
        json!({ "images": images, "tenants": tenants, "packages": PACKAGES, "results": results })
    );
    app.close().await;
    Ok(())
}

/// Processor time of this process so far, in milliseconds: of the request, and of SQLite's threads.
fn busy_now() -> Result<f64> {
    let now = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(now.tv_sec() as f64 * 1000.0 + now.tv_nsec() as f64 / 1e6)
}

/// What is asked.
const KINDS: &[(&str, &str)] = &[
    ("first page", "/v1/images"),
    ("a page in the middle", "/v1/images?page_token={page}"),
    ("one image by id", "/v1/images/{id}"),
    ("one image by name", "/v1/images/image-{n}"),
    ("a name that is not there", "/v1/images/imgae-{n}"),
    ("a family", "/v1/images?family=family-7&state=active"),
    ("the newest of a family", "/v1/families/platform-3"),
    ("all families", "/v1/families"),
    ("a tag", "/v1/images?tag=tag-13"),
    ("a tag that many have", "/v1/images?tag=tag-53"),
    (
        "kind, region, boot mode and system",
        "/v1/images?kind=system-disk&region=default&boot=uefi&os=debian&os_version=12",
    ),
    ("the own ones", "/v1/images?owner=own"),
    ("software that few have", "/v1/images?software=rare-{n}"),
    ("software that all have", "/v1/images?software=package-1"),
    ("software in one version", "/v1/images?software=package-2=1.7"),
    ("text that is found", "/v1/images?q=image-77"),
    ("text that all have", "/v1/images?q=catalogue"),
    ("text that is nowhere", "/v1/images?q=nowhere-{n}"),
];

/// What the requests name.
struct Filled {
    /// Of an administrator first, then of the tenants.
    tokens: Vec<String>,
    ids: Vec<String>,
    /// An image for each token.
    own: Vec<String>,
}

/// One in ten images is public, one in twenty each is for sale or shared, the others are private.
async fn fill(app: &App, images: usize, tenants: usize) -> Result<Filled> {
    let platform = "0".repeat(26);
    let mut projects = vec![platform.clone()];
    projects.extend((0..tenants).map(|n| format!("01TENANT{n:018}")));
    let mut tokens = Vec::new();
    let mut tx = app.db.begin_with("BEGIN IMMEDIATE").await?;
    for (n, project) in projects.iter().enumerate() {
        if n > 0 {
            sqlx::query("INSERT INTO projects (id, name, created_at) VALUES (?, ?, 0)")
                .bind(project)
                .bind(format!("tenant-{n}"))
                .execute(&mut *tx)
                .await?;
        }
        let token = format!("imp_{n:064}");
        sqlx::query("INSERT INTO api_tokens (id, name, token_hash, role, created_at, project_id) VALUES (?, ?, ?, ?, 0, ?)")
            .bind(format!("01TOKEN{n:019}"))
            .bind(format!("bench-{n}"))
            .bind(blake3::hash(token.as_bytes()).as_bytes().as_slice())
            .bind(if n == 0 { "admin" } else { "member" })
            .bind(project)
            .execute(&mut *tx)
            .await?;
        tokens.push(token);
    }
    let (mut ids, mut own) = (Vec::new(), vec![String::new(); projects.len()]);
    for n in 0..images {
        let id = format!("01HXMAGE{n:018}");
        // Public images are the platform's.
        let owner = if n % 10 == 0 { 0 } else { 1 + n % tenants };
        let visibility = match n % 20 {
            0 | 10 => "public",
            7 => "marketplace",
            13 => "shared",
            _ => "private",
        };
        let family = if owner == 0 {
            format!("platform-{}", n / 10 % 20)
        } else {
            format!("family-{}", n % 40)
        };
        sqlx::query(
            "INSERT INTO images (id, project_id, created_by, name, family, description, kind, visibility, state, region,
                 source, source_format, os_distribution, os_version, architecture, boot_modes, disk_size_bytes,
                 data_bytes, stored_bytes, created_at, updated_at)
             VALUES (?, ?, 'bench', ?, ?, ?, ?, ?, ?, 'default', 'upload', 'raw', ?, ?, 'x86_64', ?, 10737418240,
                 2147483648, 536870912, ?, ?)",
        )
        .bind(&id)
        .bind(&projects[owner])
        .bind(format!("image-{n}"))
        .bind(family)
        .bind(format!("The image number {n} of a catalogue that is asked how fast it is, with a text of usual length."))
        .bind(if n % 9 == 0 { "data-disk" } else { "system-disk" })
        .bind(visibility)
        .bind(if n % 7 == 0 { "deprecated" } else { "active" })
        .bind(["debian", "ubuntu", "rocky"][n % 3])
        .bind(["11", "12", "13", "24.04"][n % 4])
        .bind(if n % 2 == 0 { r#"["uefi"]"# } else { r#"["uefi","bios"]"# })
        .bind(i64::try_from(n)?)
        .bind(i64::try_from(n)?)
        .execute(&mut *tx)
        .await?;
        let manifest = blake3::hash(id.as_bytes()).to_hex().to_string();
        sqlx::query("INSERT INTO manifests VALUES (?1, ?1, ?1, 10737418240, 2147483648, 536870912, 512, NULL, NULL, NULL, NULL, 0)")
            .bind(&manifest)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO image_disks (image_id, position, role, manifest) VALUES (?, 0, 'system', ?)",
        )
        .bind(&id)
        .bind(&manifest)
        .execute(&mut *tx)
        .await?;
        for tag in [n % 50, 50 + n % 7] {
            sqlx::query("INSERT INTO image_tags VALUES (?, ?)")
                .bind(&id)
                .bind(format!("tag-{tag}"))
                .execute(&mut *tx)
                .await?;
        }
        if visibility == "shared" {
            sqlx::query("INSERT INTO image_members VALUES (?, ?, 'accepted', 0, 0)")
                .bind(&id)
                .bind(&projects[1 + (n + 1) % tenants])
                .execute(&mut *tx)
                .await?;
        }
        let mut packages = QueryBuilder::<Sqlite>::new("INSERT INTO manifest_packages ");
        packages.push_values(0..PACKAGES, |mut row, package| {
            let name = match package {
                0 => format!("rare-{n}"),
                package => format!("package-{package}"),
            };
            row.push_bind(manifest.clone())
                .push_bind(name)
                .push_bind(format!("1.{}", n % 20))
                .push_bind("amd64");
        });
        packages.build().execute(&mut *tx).await?;
        own[owner].clone_from(&id);
        ids.push(id);
    }
    tx.commit().await?;
    let own = own
        .into_iter()
        .map(|id| if id.is_empty() { ids[0].clone() } else { id })
        .collect();
    Ok(Filled { tokens, ids, own })
}

async fn ask(router: &Router, token: &str, path: &str) -> Result<Value> {
    let request = Request::get(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())?;
    let answer = router.clone().oneshot(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(
        status.is_success() || (status == 404 && path.starts_with("/v1/images/")),
        "{path}: {status}: {}",
        String::from_utf8_lossy(&body)
    );
    serde_json::from_slice(&body).with_context(|| format!("{path}: the answer is no JSON"))
}
