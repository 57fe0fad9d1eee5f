//! One measurement: a fleet is switched on, taken into service, deployed in part and all at once; then its controller is
//! killed; and then the books are compared.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Fleet, FleetOptions,
    api::{self, Api, Followed, NodeView, Site},
    compare::{self, Expected},
    controller::ControllerProcess,
    dice::Dice,
    faults::{self, Fault},
    figures::{self, Figures, Part},
    node::Node,
    outcome::{Outcome, Reconnect},
    tally::Standing,
};

/// The image, of which each deployment fetches the manifest, and those with an engine all.
const IMAGE: &str = "fleet";
const IMAGE_BYTES: usize = 8 << 20;
/// Requests of an operator's program at a time.
const ABREAST: usize = 16;

/// What is measured.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The fleet.
    pub fleet: FleetOptions,
    /// Nodes that are deployed, all at once.
    pub deployments: u32,
    /// How long the fleet is left alone, to see what it costs at rest.
    pub rest: Duration,
    /// The controller is killed and started again when all is done.
    pub kill: bool,
    /// The same in the middle of the deployments.
    pub kill_amid: bool,
    /// The longest that anything may take.
    pub patience: Duration,
}

/// Says what happens.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);

struct Story<'a> {
    options: &'a RunOptions,
    say: Say<'a>,
    controller: Option<&'a mut ControllerProcess>,
    api: Api,
    fleet: Fleet,
    figures: Arc<Figures>,
    parts: Vec<Part>,
    reconnects: Vec<Reconnect>,
}

/// Runs it. `controller`: the process, where it is one.
///
/// # Errors
/// When something comes to no end, or a node gets into a state that it must never be in.
pub async fn run(
    site: &Site,
    controller: Option<&mut ControllerProcess>,
    options: &RunOptions,
    say: Say<'_>,
) -> Result<Outcome> {
    let seed = options.fleet.seed;
    say(&format!("A fleet of {} nodes, seed {seed}", options.fleet.nodes));
    let api = Api::of(site)?;
    let mut dice = Dice::of(seed, 0, 4);
    let content: Vec<u8> = (0..IMAGE_BYTES / 8)
        .flat_map(|_| dice.number().to_le_bytes())
        .collect();
    let fleet = Fleet::build(&options.fleet, &site.boot_url)?;
    let digest = (blake3::hash(&content), IMAGE_BYTES as u64);
    ensure!(fleet.shared.image.set(digest).is_ok(), "a fleet has one image");
    api.import(IMAGE, content).await?;

    let figures = Figures::of(controller.as_ref().and_then(|controller| controller.pid()));
    let stop = CancellationToken::new();
    let looking = tokio::spawn(figures::look(
        Arc::clone(&figures),
        Arc::clone(&fleet.shared),
        stop.clone(),
    ));
    let followed = Arc::new(Mutex::new(Followed::default()));
    let following = tokio::spawn(api::follow(api.clone(), Arc::clone(&followed), stop.clone()));
    let mut story = Story {
        options,
        say,
        controller,
        api,
        fleet,
        figures,
        parts: Vec::new(),
        reconnects: Vec::new(),
    };
    let told = story.tell(site, &stop).await;
    // The follower gets what it has not heard yet.
    let mut outcome = match told {
        Ok(mut outcome) => {
            let caught_up = async {
                while followed.lock().await.ids.len() < usize::try_from(outcome.comparison.events)? {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                anyhow::Ok(())
            };
            outcome.followed_all = tokio::time::timeout(Duration::from_secs(30), caught_up)
                .await
                .is_ok();
            Ok(outcome)
        }
        Err(error) => Err(error),
    };
    stop.cancel();
    looking.await.context("nobody looked")?;
    following.await.context("nobody followed")?;
    if let Ok(outcome) = &mut outcome {
        let followed = followed.lock().await;
        outcome.followed = followed.ids.len() as u64;
        outcome.disordered = followed.disordered;
        outcome.progress = followed.progress;
    }
    story.fleet.switch_off().await;
    outcome
}

impl Story<'_> {
    async fn tell(&mut self, site: &Site, stop: &CancellationToken) -> Result<Outcome> {
        let known = self.discover().await?;
        let ids: Vec<String> = known.values().map(|node| node.id.clone()).collect();
        let asker = figures::ask(
            site.clone(),
            ids,
            Arc::clone(&self.figures),
            self.options.fleet.seed,
            stop.child_token(),
        );
        asker.context("cannot start a thread")?;
        self.rest().await;
        let deployed = self.deploy(&known).await?;
        if self.options.kill {
            self.kill("killed at rest", &deployed).await?;
        }
        self.compare(&known, &deployed).await
    }

    /// Waits until something is so; an error, with how the fleet stands, when it takes too long.
    async fn until(&self, what: &str, done: impl Fn(&Fleet) -> (usize, usize)) -> Result<()> {
        let (began, mut told) = (Instant::now(), Instant::now());
        loop {
            let (got, wanted) = done(&self.fleet);
            let broken = self.fleet.broken();
            if let Some(first) = broken.first() {
                bail!("{} nodes are broken; {first}", broken.len());
            }
            if got >= wanted {
                return Ok(());
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                (self.say)(&format!("{what}: {got} of {wanted}"));
            }
            if began.elapsed() > self.options.patience {
                bail!(
                    "{what}: {got} of {wanted} after {} s; {}",
                    began.elapsed().as_secs(),
                    self.standings()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn standings(&self) -> String {
        let mut standings: BTreeMap<String, usize> = BTreeMap::new();
        for node in &self.fleet.nodes {
            let standing = format!("{} {:?}", node.plan.fault, node.tally.standing());
            *standings.entry(standing).or_default() += 1;
        }
        let all: Vec<String> = standings
            .into_iter()
            .map(|(standing, count)| format!("{count} {standing}"))
            .collect();
        all.join(", ")
    }

    fn at(&self) -> Duration {
        self.figures.began.elapsed()
    }

    fn part(&mut self, name: &str, from: Duration) {
        let part = Part::of(name, &self.figures, from, self.at());
        (self.say)(&format!(
            "{name}: {:.1} s, {:.2} cores, {:.0} MiB, p99 {:.0} ms",
            part.seconds, part.cores, part.rss_mib, part.p99_ms
        ));
        self.parts.push(part);
    }

    /// Switches the fleet on and takes it into service; the nodes by their number.
    async fn discover(&mut self) -> Result<HashMap<u32, NodeView>> {
        let from = self.at();
        let honest = |node: &Node| node.plan.fault != Fault::Twin;
        let connected = |fleet: &Fleet| {
            let wanted = fleet.nodes.iter().filter(|node| honest(node)).count();
            (fleet.count(|standing| *standing == Standing::Connected), wanted)
        };
        self.fleet.switch_on(honest).await;
        self.until("nodes that have enrolled and are connected", connected)
            .await?;
        // Then come those that say that they are others.
        self.fleet.switch_on(|node| node.plan.fault == Fault::Twin).await;
        self.until("machines that contradict others, left alone", |fleet| {
            let twins = fleet
                .nodes
                .iter()
                .filter(|node| node.plan.fault == Fault::Twin)
                .count();
            (
                fleet.count(|standing| matches!(standing, Standing::LeftAlone(_))),
                twins,
            )
        })
        .await?;
        self.part("power-on and discovery", from);

        let from = self.at();
        let listed = self.inventories().await?;
        let by_mac: HashMap<&str, &NodeView> = listed
            .iter()
            .flat_map(|node| node.macs.iter().map(move |mac| (mac.as_str(), node)))
            .collect();
        let mut known = HashMap::new();
        for node in self.fleet.nodes.iter().filter(|node| honest(node)) {
            let view = by_mac.get(node.hardware.boot_mac());
            let view =
                view.with_context(|| format!("node {} is not known to the controller", node.number))?;
            known.insert(node.number, (*view).clone());
        }
        ensure!(
            known.len() == listed.len(),
            "{} nodes are known, {} called",
            listed.len(),
            known.len()
        );
        let approvals = stream::iter(&listed)
            .map(Ok)
            .try_for_each_concurrent(ABREAST, |node| self.api.approve(&node.id));
        approvals.await?;
        self.part("approval", from);
        Ok(known)
    }

    /// The nodes, once each has sent what it is.
    async fn inventories(&self) -> Result<Vec<NodeView>> {
        let began = Instant::now();
        loop {
            let listed = self.api.nodes().await?;
            let taken = self.api.events().await?;
            let taken = taken
                .iter()
                .filter(|event| event.kind == "node.inventory.taken")
                .count();
            if taken >= listed.len() {
                return Ok(listed);
            }
            ensure!(
                began.elapsed() < self.options.patience,
                "{taken} of {} inventories were taken",
                listed.len()
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn rest(&mut self) {
        if self.options.rest.is_zero() {
            return;
        }
        let from = self.at();
        tokio::time::sleep(self.options.rest).await;
        self.part("at rest", from);
    }

    /// The nodes that are deployed, by the seed's choice; their deployments.
    async fn deploy(&mut self, known: &HashMap<u32, NodeView>) -> Result<HashMap<u32, String>> {
        let mut chosen: Vec<u32> = known.keys().copied().collect();
        chosen.sort_unstable();
        let mut dice = Dice::of(self.options.fleet.seed, 0, 6);
        chosen.sort_by_cached_key(|_| dice.number());
        chosen.truncate(self.options.deployments as usize);
        if chosen.is_empty() {
            return Ok(HashMap::new());
        }
        let from = self.at();
        (self.say)(&format!("{} deployments at once", chosen.len()));
        let deployed: HashMap<u32, String> = stream::iter(&chosen)
            .map(|number| async {
                let deployment = self.api.deploy(&known[number].id, IMAGE).await?;
                anyhow::Ok((*number, deployment.id))
            })
            .buffer_unordered(ABREAST)
            .try_collect()
            .await?;
        (self.say)(&format!(
            "all are asked for, in {:.1} s",
            (self.at() - from).as_secs_f64()
        ));
        let in_service = |fleet: &Fleet| {
            let standing = fleet.count(|standing| *standing == Standing::InService);
            (standing, chosen.len())
        };
        if self.options.kill_amid {
            let half = |fleet: &Fleet| {
                let (got, wanted) = in_service(fleet);
                (got, wanted / 4)
            };
            self.until("systems in service", half).await?;
            self.kill("killed amid deployments", &HashMap::new()).await?;
        }
        self.until("systems in service", in_service).await?;
        self.part("deployments", from);
        Ok(deployed)
    }

    /// Kills the controller, starts it again, and waits until all that were connected are so again.
    async fn kill(&mut self, name: &str, deployed: &HashMap<u32, String>) -> Result<()> {
        let lines = &self.fleet.shared.lines;
        let before = lines.open.load(Relaxed);
        let from = self.at();
        let Some(controller) = self.controller.as_deref_mut() else {
            bail!("only a controller in a process of its own can be killed");
        };
        (self.say)(&format!("kill -9, with {before} sessions of agents open"));
        controller.kill()?;
        let killed = Instant::now();
        controller.start().await?;
        let answers = killed.elapsed();
        if let Some(pid) = controller.pid() {
            self.figures.another(pid);
        }
        let amid = deployed.is_empty();
        self.until("agents that are connected again", |fleet| {
            let open = fleet.shared.lines.open.load(Relaxed);
            // In the middle of deployments, sessions also end because machines restart.
            let gone = if amid {
                fleet.count(|standing| !matches!(standing, Standing::Connected | Standing::Calls))
            } else {
                0
            };
            (
                usize::try_from(open).unwrap_or(0) + gone,
                if amid {
                    fleet.nodes.len()
                } else {
                    usize::try_from(before).unwrap_or(0)
                },
            )
        })
        .await?;
        let agents = killed.elapsed();
        let mut guests = None;
        if !deployed.is_empty() {
            self.guests_are_back(deployed).await?;
            guests = Some(killed.elapsed().as_secs_f64());
        }
        let samples = self.figures.samples(from, self.at());
        let most = |count: fn(&figures::Sample) -> u64| {
            let differences = samples
                .windows(2)
                .map(|pair| count(&pair[1]).saturating_sub(count(&pair[0])));
            differences.max().unwrap_or(0)
        };
        self.reconnects.push(Reconnect {
            name: name.to_owned(),
            sessions: before,
            answers_seconds: answers.as_secs_f64(),
            agents_seconds: agents.as_secs_f64(),
            guests_seconds: guests,
            most_dialled: most(|sample| sample.dialled),
            most_opened: most(|sample| sample.opened),
        });
        self.part(name, from);
        Ok(())
    }

    async fn guests_are_back(&self, deployed: &HashMap<u32, String>) -> Result<()> {
        let mut away: Vec<String> = Vec::new();
        let deployments = self.api.deployments().await?;
        away.extend(
            deployments
                .into_iter()
                .filter(|one| one.state == "succeeded")
                .map(|one| one.node_id),
        );
        ensure!(
            away.len() == deployed.len(),
            "{} of {} deployments succeeded",
            away.len(),
            deployed.len()
        );
        let began = Instant::now();
        while !away.is_empty() {
            ensure!(
                began.elapsed() < self.options.patience,
                "{} guest plugins do not come back",
                away.len()
            );
            let still: Vec<Option<String>> = stream::iter(away)
                .map(|node| async move {
                    let connected = self.api.guest_connected(&node).await?;
                    anyhow::Ok((!connected).then_some(node))
                })
                .buffer_unordered(ABREAST)
                .try_collect()
                .await?;
            away = still.into_iter().flatten().collect();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    async fn compare(
        &mut self,
        known: &HashMap<u32, NodeView>,
        deployed: &HashMap<u32, String>,
    ) -> Result<Outcome> {
        if let Some(controller) = self.controller.as_deref_mut() {
            controller.expect_running()?;
        }
        let deployments = self.api.deployments().await?;
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for deployment in &deployments {
            *states.entry(deployment.state.clone()).or_default() += 1;
        }
        let mut nodes: BTreeMap<String, u64> = BTreeMap::new();
        for node in self.api.nodes().await? {
            *nodes.entry(node.state.clone()).or_default() += 1;
        }
        let expected: Vec<Expected> = self
            .fleet
            .nodes
            .iter()
            .filter_map(|node| {
                Some(Expected {
                    node_id: known.get(&node.number)?.id.clone(),
                    deployment_id: deployed.get(&node.number).cloned(),
                    told: node.tally.told(),
                    opened: node.tally.opened.load(Relaxed),
                })
            })
            .collect();
        let comparison = compare::compare(&expected, &self.api.events().await?);
        let faults = faults::ALL.into_iter().map(|fault| {
            let count = self
                .fleet
                .nodes
                .iter()
                .filter(|node| node.plan.fault == fault)
                .count();
            (fault.to_string(), count as u64)
        });
        Ok(Outcome {
            seed: self.options.fleet.seed,
            nodes: self.options.fleet.nodes,
            deployments: deployed.len() as u64,
            faults: faults.collect(),
            attempts: deployments
                .iter()
                .map(|deployment| u64::from(deployment.attempt))
                .sum(),
            deployment_states: states,
            node_states: nodes,
            standings: self.standings(),
            proved: self.fleet.shared.lines.proved.load(Relaxed),
            booted: self.fleet.shared.lines.booted.load(Relaxed),
            parts: std::mem::take(&mut self.parts),
            reconnects: std::mem::take(&mut self.reconnects),
            comparison,
            followed: 0,
            followed_all: false,
            disordered: 0,
            progress: 0,
        })
    }
}
