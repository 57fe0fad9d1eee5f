//! pydpu, somebody else's client of OPI, works with the card: it speaks OPI, and not a dialect of ours.
//!
//! `cargo xtask python-tools` puts it into `target/python-tools`, as `cargo xtask test` does first. Without it the test says
//! so and passes, except where `CI` is set.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use imprint_tests::card::{CardOptions, Served, serve};
use tokio::process::Command;

use super::options;

/// Creates, lists, gets and deletes one of each kind; pydpu's library has all of NVMe. It has no code of its own for
/// virtio-blk, but its generated code.
const STORY: &str = r#"
import sys
import grpc
from google.protobuf import wrappers_pb2
from pydpu import storage
from pydpu.proto.v1 import backend_nvme_pb2, frontend_virtio_blk_pb2, frontend_virtio_blk_pb2_grpc, opicommon_pb2

address = sys.argv[1]


def through(thing, field):
    made = thing.create(address)
    assert made.name == thing.name, (made.name, thing.name)
    assert thing.get(address) == made
    assert made in list(getattr(thing.list(address), field))
    thing.stats(address)


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except grpc.RpcError as error:
        assert error.code() == code, error
    else:
        raise AssertionError(f"{call} was not refused")


remote = storage.NvmeRemoteController(multipath=backend_nvme_pb2.NVME_MULTIPATH_FAILOVER, hdgst=True, ddgst=False)
through(remote, "nvme_remote_controllers")
path = storage.NvmeTcpPath(remote, ip="127.0.0.1", port=4420, subnqn="nqn.2026-01.example:volume")
through(path, "nvme_paths")
subsystem = storage.NvmeSubsystem(nqn="nqn.2026-01.example:shown", serial="VOLUME-1")
through(subsystem, "nvme_subsystems")
controller = storage.NvmeController(subsystem=subsystem, queue=1024, pf=0, vf=0)
through(controller, "nvme_controllers")
namespace = storage.NvmeNamespace(subsystem=subsystem, volume=remote.name + "/nvmeRemoteNamespaces/1")
through(namespace, "nvme_namespaces")
refused(grpc.StatusCode.FAILED_PRECONDITION, subsystem.delete, address)
for thing in (namespace, controller, subsystem, path, remote):
    thing.delete(address)
    refused(grpc.StatusCode.NOT_FOUND, thing.get, address)

blk = frontend_virtio_blk_pb2
with grpc.insecure_channel(address) as channel:
    blks = frontend_virtio_blk_pb2_grpc.FrontendVirtioBlkServiceStub(channel)
    asked = blk.VirtioBlk(
        pcie_id=opicommon_pb2.PciEndpoint(
            port_id=wrappers_pb2.Int32Value(value=0),
            physical_function=wrappers_pb2.Int32Value(value=1),
            virtual_function=wrappers_pb2.Int32Value(value=0),
        ),
        volume_name_ref="Malloc42",
        max_io_qps=64,
        max_limit=opicommon_pb2.QosLimit(rd_iops_kiops=1, wr_iops_kiops=2, rw_bandwidth_mbs=6),
    )
    made = blks.CreateVirtioBlk(blk.CreateVirtioBlkRequest(virtio_blk=asked, virtio_blk_id="volume-1"))
    asked.name = "virtioBlks/volume-1"
    assert made == asked, made
    assert blks.GetVirtioBlk(blk.GetVirtioBlkRequest(name=made.name)) == made
    listed = blks.ListVirtioBlks(blk.ListVirtioBlksRequest(page_size=1))
    assert list(listed.virtio_blks) == [made] and not listed.next_page_token, listed
    blks.DeleteVirtioBlk(blk.DeleteVirtioBlkRequest(name=made.name))
    refused(grpc.StatusCode.NOT_FOUND, blks.DeleteVirtioBlk, blk.DeleteVirtioBlkRequest(name=made.name))
    blks.DeleteVirtioBlk(blk.DeleteVirtioBlkRequest(name=made.name, allow_missing=True))
print("served")
"#;

/// Where pydpu is, if it is.
fn place() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python-tools");
    // Written when all is installed.
    if place.join("complete").exists() {
        return Some(place);
    }
    assert!(
        env::var_os("CI").is_none(),
        "{} is missing; `cargo xtask python-tools` makes it",
        place.display()
    );
    eprintln!("not tried: `cargo xtask python-tools` installs pydpu first");
    None
}

async fn card() -> Served {
    let eight = CardOptions {
        functions: 8,
        ..options()
    };
    serve(&eight).await.unwrap()
}

/// What it says; it must succeed.
async fn said(command: &mut Command) -> String {
    // A proxy is for the world outside.
    command.env("no_grpc_proxy", "127.0.0.1").stdin(Stdio::null());
    let done = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complained = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{complained}");
    said
}

#[tokio::test]
async fn its_library_makes_lists_and_deletes_all_kinds() {
    let Some(place) = place() else { return };
    let card = card().await;
    let mut python = Command::new(place.join("bin/python"));
    python.args(["-c", STORY]).arg(card.address.to_string());
    assert_eq!(said(&mut python).await.trim(), "served");
}

#[tokio::test]
async fn its_command_line_takes_a_subsystem_through_its_life() {
    let Some(place) = place() else { return };
    let card = card().await;
    let mut dpu = Command::new(place.join("bin/dpu"));
    dpu.arg(format!("--address={}", card.address))
        .args(["storage", "subsystem"]);
    let said = said(&mut dpu).await;
    // It prints errors of gRPC and succeeds.
    assert!(
        !said.contains("RpcError") && !said.contains("StatusCode"),
        "{said}"
    );
    let names = said.matches("name: \"nvmeSubsystems/opi-").count();
    assert_eq!(names, 3, "created, listed, got: {said}");
}
