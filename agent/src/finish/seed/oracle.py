"""What cloud-init's own code reads of a seed below a root: argv[1] the root. Output: JSON."""
import ipaddress, json, os, sys, tempfile, warnings

warnings.simplefilter("ignore")
from cloudinit import helpers, net, util
from cloudinit.sources import DataSourceConfigDrive, DataSourceNoCloud

root = sys.argv[1]
settings = os.path.join(root, "etc/cloud/cloud.cfg.d")
cfg = {}
for name in sorted(os.listdir(settings)):
    cfg = util.mergemanydict([util.load_yaml(util.load_file(os.path.join(settings, name))), cfg])
source, none = cfg["datasource_list"]
assert none == "None", none

paths = helpers.Paths({"cloud_dir": os.path.join(root, "var/lib/cloud"), "run_dir": tempfile.mkdtemp()})
macs = {"52:54:00:00:00:01": "lan0"}
net.get_interfaces_by_mac = lambda *a, **k: macs
kind = {
    "NoCloud": DataSourceNoCloud.DataSourceNoCloud,
    "ConfigDrive": DataSourceConfigDrive.DataSourceConfigDrive,
}[source]
util.find_devs_with = lambda *a, **k: []
found = kind({"datasource": {}}, None, paths)
found.known_macs = macs
assert found._get_data(), "there is no seed"
network = cfg.get("network") or found.network_config


def address(subnet):
    text = subnet.get("address")
    if text and "/" not in text:
        text = str(ipaddress.ip_interface("%s/%s" % (text, subnet["netmask"])))
    return text or subnet["type"]


if network and "config" in network:
    network = {
        "names": sorted(part["name"] for part in network["config"] if part["type"] == "physical"),
        "addresses": sorted(
            address(subnet) for part in network["config"] for subnet in part.get("subnets", [])
        ),
    }
elif network:
    links = network["ethernets"]
    network = {
        "names": sorted(link.get("set-name", name) for name, link in links.items()),
        "addresses": sorted(str(address) for link in links.values() for address in link.get("addresses", ["dhcp4"])),
    }
user = found.userdata_raw
print(
    json.dumps(
        {
            "source": source,
            "instance": found.metadata["instance-id"],
            "host": found.metadata["local-hostname"],
            "user": user.decode() if isinstance(user, bytes) else user,
            "network": network,
        }
    )
)
