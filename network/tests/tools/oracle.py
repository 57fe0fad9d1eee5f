"""What cloud-init's own code makes of a network-config, as facts that can be compared.

Input: JSON {"text": network-config, "macs": {mac: name}, "ours": {system: {path: content}}, "network_data": text or null}
Output: JSON {"state": facts, "ours": {system: facts}, "theirs": {system: facts or an error}}
A fact is a line like "lan0 address 192.0.2.10/24".
"""
import configparser, glob, ipaddress, json, os, re, sys, tempfile, warnings

warnings.simplefilter("ignore")
import yaml
from cloudinit import net, util
from cloudinit.net import network_state

given = json.load(sys.stdin)
MACS = given["macs"]
for module in (net, network_state):
    module.get_interfaces_by_mac = lambda *a, **k: dict(MACS)
    module.find_interface_name_from_mac = lambda mac, *a, **k: MACS.get(mac.lower())
net.get_ib_hwaddrs_by_interface = lambda *a, **k: {}
from cloudinit.net import eni, netplan, network_manager, networkd, sysconfig
from cloudinit.sources.helpers import openstack

netplan._clean_default = lambda *a, **k: None


def cidr(address, mask=None):
    text = str(address)
    if "/" not in text:
        text = "%s/%s" % (text, mask if mask not in (None, "") else ("128" if ":" in text else "32"))
    return str(ipaddress.ip_interface(text))


def route(to, via, metric=None, table=None):
    to = {"default": "0.0.0.0/0" if via and ":" not in via else "::/0"}.get(to, to)
    out = "route %s via %s" % (ipaddress.ip_network(str(to), strict=False), via or "-")
    if metric not in (None, ""):
        out += " metric %s" % metric
    if table not in (None, ""):
        out += " table %s" % table
    return out


def state_facts(state):
    facts = set()
    for iface in state.iter_interfaces():
        name = iface["name"]
        if name == "lo":
            continue
        if iface.get("mtu"):
            facts.add("%s mtu %s" % (name, iface["mtu"]))
        if iface["type"] == "vlan":
            facts.add("%s vlan %s on %s" % (name, iface["vlan_id"], iface["vlan-raw-device"]))
        for member in (iface.get("bond-slaves"), ):
            if iface.get("bond-master"):
                facts.add("%s member of %s" % (name, iface["bond-master"]))
        for member in iface.get("bridge_ports") or []:
            facts.add("%s member of %s" % (member, name))
        if iface["type"] == "bond":
            facts.add("%s bond mode %s" % (name, iface.get("bond-mode") or iface.get("bond_mode")))
        for subnet in iface.get("subnets", []):
            kind = subnet["type"]
            if kind in ("dhcp", "dhcp4"):
                facts.add("%s dhcp4" % name)
            elif kind in ("dhcp6", "ipv6_dhcpv6-stateful"):
                facts.add("%s dhcp6" % name)
            elif kind in ("static", "static6") and subnet.get("address"):
                facts.add("%s address %s" % (name, cidr(subnet["address"], subnet.get("prefix") or subnet.get("netmask"))))
            for r in subnet.get("routes", []):
                mask = r.get("prefix", r.get("netmask"))
                facts.add("%s %s" % (name, route(cidr(r["network"], mask), r.get("gateway"), r.get("metric"))))
            if subnet.get("gateway"):
                facts.add("%s %s" % (name, route("default", subnet["gateway"])))
            for server in subnet.get("dns_nameservers", []) or []:
                facts.add("%s dns %s" % (name, server))
    return facts


def ini(text):
    """Sections with all their keys, repeated ones too."""
    sections, keys = [], None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            keys = []
            sections.append((line[1:-1], keys))
        elif "=" in line and not line.startswith(("#", ";")) and keys is not None:
            keys.append(tuple(part.strip() for part in line.split("=", 1)))
    return sections


def bond_mode(word):
    return {"0": "balance-rr", "1": "active-backup", "2": "balance-xor", "3": "broadcast", "4": "802.3ad"}.get(word, word)


def from_netplan(files):
    facts = set()
    for text in files.values():
        top = yaml.safe_load(text)["network"]
        for section in ("ethernets", "bonds", "bridges", "vlans"):
            for name, device in top.get(section, {}).items():
                put = lambda fact: facts.add("%s %s" % (name, fact))
                if device.get("mtu"):
                    put("mtu %s" % device["mtu"])
                for key in ("dhcp4", "dhcp6"):
                    if device.get(key):
                        put(key)
                for address in device.get("addresses", []):
                    put("address %s" % cidr(address))
                for r in device.get("routes", []):
                    put(route(r["to"], r.get("via"), r.get("metric"), r.get("table")))
                for server in device.get("nameservers", {}).get("addresses", []):
                    put("dns %s" % server)
                for member in device.get("interfaces", []):
                    facts.add("%s member of %s" % (member, name))
                if section == "vlans":
                    put("vlan %s on %s" % (device["id"], device["link"]))
                if section == "bonds":
                    put("bond mode %s" % device["parameters"]["mode"])
                for rule in device.get("routing-policy", []):
                    put("rule from %s table %s" % (rule["from"], rule["table"]))
    return facts


def from_networkd(files):
    facts, vlans = set(), {}
    for path, text in files.items():
        if not path.endswith(".netdev"):
            continue
        keys = {(section, key): value for section, entries in ini(text) for key, value in entries}
        name = keys["NetDev", "Name"]
        if keys["NetDev", "Kind"] == "vlan":
            vlans[name] = keys["VLAN", "Id"]
        if keys["NetDev", "Kind"] == "bond":
            facts.add("%s bond mode %s" % (name, keys["Bond", "Mode"]))
    for path, text in files.items():
        if not path.endswith(".network"):
            continue
        sections = ini(text)
        match = {k: v for section, entries in sections if section == "Match" for k, v in entries}
        name = match.get("Name") or MACS[(match.get("MACAddress") or match["PermanentMACAddress"]).lower()]
        put = lambda fact: facts.add("%s %s" % (name, fact))
        for section, entries in sections:
            keys = dict(entries)
            for key, value in entries:
                if key == "MTUBytes" and section == "Link":
                    put("mtu %s" % value)
                if key == "DHCP":
                    if value in ("yes", "ipv4"):
                        put("dhcp4")
                    if value in ("yes", "ipv6"):
                        put("dhcp6")
                if key == "Address":
                    put("address %s" % cidr(value))
                if key == "DNS":
                    for server in value.split():
                        put("dns %s" % server)
                if key in ("Bond", "Bridge"):
                    put("member of %s" % value)
                if key == "VLAN":
                    facts.add("%s vlan %s on %s" % (value, vlans.get(value, "?"), name))
            if section == "Route":
                put(route(keys["Destination"], keys.get("Gateway"), keys.get("Metric"), keys.get("Table")))
            if section == "RoutingPolicyRule":
                put("rule from %s table %s" % (keys["From"], keys["Table"]))
    return facts


def from_keyfiles(files):
    facts, names, uuids = set(), {}, {}
    parsed = {}
    for path, text in files.items():
        if not path.endswith((".nmconnection",)):
            continue
        parser = configparser.ConfigParser(interpolation=None)
        parser.optionxform = str
        parser.read_string(text)
        mac = parser.get("ethernet", "mac-address", fallback="").lower()
        name = parser.get("connection", "interface-name", fallback=None) or MACS[mac]
        parsed[name] = parser
        uuids[parser["connection"]["uuid"]] = name
    for name, parser in parsed.items():
        put = lambda fact: facts.add("%s %s" % (name, fact))
        get = lambda section, key: parser.get(section, key, fallback=None)
        if get("ethernet", "mtu"):
            put("mtu %s" % get("ethernet", "mtu"))
        master = get("connection", "master")
        if master:
            put("member of %s" % uuids.get(master, master))
        if get("bond", "mode"):
            put("bond mode %s" % bond_mode(get("bond", "mode")))
        if get("vlan", "id"):
            parent = get("vlan", "parent")
            put("vlan %s on %s" % (get("vlan", "id"), uuids.get(parent, parent)))
        if get("ipv4", "method") == "auto":
            put("dhcp4")
        # Keyfiles have one word for routers and for DHCP after them.
        if get("ipv6", "method") in ("auto", "dhcp"):
            put("dhcp6 or routers")
        for family in ("ipv4", "ipv6"):
            if not parser.has_section(family):
                continue
            for key, value in parser.items(family):
                if re.match(r"address\d+$", key):
                    put("address %s" % cidr(value.split(",")[0]))
                    if "," in value:
                        put(route("default", value.split(",")[1]))
                if key == "gateway":
                    put(route("default", value))
                if re.match(r"route\d+$", key):
                    parts = value.split(",") + ["", ""]
                    options = dict(o.split("=") for o in (get(family, key + "_options") or "").split(",") if o)
                    put(route(parts[0], parts[1] or None, parts[2], options.get("table")))
                if key == "dns":
                    for server in value.split(";"):
                        if server:
                            put("dns %s" % server)
                if key.startswith("routing-rule"):
                    words = value.split()
                    put("rule from %s table %s" % (words[words.index("from") + 1], words[words.index("table") + 1]))
    return facts


def from_eni(files):
    facts, name = set(), None
    text = next((t for p, t in files.items() if "interfaces" in p), "")
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        put = lambda fact: facts.add("%s %s" % (name, fact))
        if words[0] == "iface":
            name, family, method = words[1], words[2], words[3]
            if method == "dhcp":
                put("dhcp6" if family == "inet6" else "dhcp4")
        elif words[0] == "address" and name != "lo":
            put("address %s" % cidr(words[1]))
        elif words[0] == "mtu":
            put("mtu %s" % words[1])
        elif words[0] == "gateway":
            put(route("default", words[1]))
        elif words[0] == "dns-nameservers":
            for server in words[1:]:
                put("dns %s" % server)
        elif words[0] in ("bond-mode", "bond_mode"):
            put("bond mode %s" % words[1])
        elif words[0] == "bond-master":
            put("member of %s" % words[1])
        elif words[0] == "bridge_ports":
            for member in words[1:]:
                facts.add("%s member of %s" % (member, name))
        elif words[0] == "vlan-raw-device":
            put("vlan %s on %s" % (vlan_of(text, name), words[1]))
        elif "set" in words and "mtu" in words:
            put("mtu %s" % words[words.index("mtu") + 1])
        elif "master" in words:
            put_member = words[words.index("master") - 1]
            facts.add("%s member of %s" % (put_member, words[words.index("master") + 1]))
        elif "bond" in words and "mode" in words:
            put("bond mode %s" % words[words.index("mode") + 1])
        elif "vlan" in words and "link" in words:
            put("vlan %s on %s" % (words[-1], words[words.index("name") - 1]))
        elif words[0] == "up" and "rule" in words:
            put("rule from %s table %s" % (words[words.index("from") + 1], words[words.index("table") + 1]))
        elif words[0] == "up" and words[1] == "ip":
            after = lambda word: words[words.index(word) + 1] if word in words else None
            put(route(words[words.index("replace") + 1], after("via"), after("metric"), after("table")))
        elif words[0] in ("post-up", "up") and words[1] == "route" and words[2] == "add":
            after = lambda word: words[words.index(word) + 1] if word in words else None
            if "default" in words:
                via = after("gw")
                put(route("default", via, after("metric")))
            else:
                to = after("-net") or after("-host") or words[words.index("inet6") + 1 if "inet6" in words else 4]
                put(route(cidr(to, after("netmask")), after("gw"), after("metric")))
    return facts


def vlan_of(text, name):
    block = text.split("iface %s " % name)[1].split("iface ")[0]
    found = re.search(r"vlan_id (\d+)", block)
    return found.group(1) if found else name.rsplit(".")[-1]


def from_sysconfig(files):
    facts = set()
    for path, text in files.items():
        base = os.path.basename(path)
        kind, _, name = base.partition("-")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        put = lambda fact: facts.add("%s %s" % (name, fact))
        if kind == "ifcfg":
            v = dict((part.strip('"') for part in line.split("=", 1)) for line in lines)
            if v.get("MTU"):
                put("mtu %s" % v["MTU"])
            if v.get("BOOTPROTO") == "dhcp":
                put("dhcp4")
            if v.get("DHCPV6C") == "yes":
                put("dhcp6")
            for key, value in v.items():
                number = re.match(r"IPADDR(\d*)$", key)
                if number:
                    put("address %s" % cidr(value, v.get("PREFIX" + number.group(1)) or v.get("NETMASK" + number.group(1))))
                if key in ("IPV6ADDR", "IPV6ADDR_SECONDARIES"):
                    for address in value.split():
                        put("address %s" % cidr(address))
                if re.match(r"GATEWAY\d*$", key) or key == "IPV6_DEFAULTGW":
                    put(route("default", value))
                if re.match(r"DNS\d+$", key):
                    put("dns %s" % value)
            if v.get("MASTER") or v.get("BRIDGE"):
                put("member of %s" % (v.get("MASTER") or v.get("BRIDGE")))
            if v.get("BONDING_OPTS"):
                put("bond mode %s" % re.search(r"mode=(\S+)", v["BONDING_OPTS"]).group(1))
            if v.get("VLAN") == "yes":
                put("vlan %s on %s" % (v.get("VLAN_ID") or name.rsplit(".")[-1], v["PHYSDEV"]))
        elif kind in ("route", "route6"):
            v = dict((part.strip('"') for part in line.split("=", 1)) for line in lines if re.match(r"[A-Z]+\d*=", line))
            for key in v:
                number = re.match(r"ADDRESS(\d+)$", key)
                if number:
                    n = number.group(1)
                    put(route(cidr(v[key], v["NETMASK" + n]), v.get("GATEWAY" + n), v.get("METRIC" + n)))
            for line in lines:
                words = line.split()
                after = lambda word: words[words.index(word) + 1] if word in words else None
                if "dev" in words:
                    put(route(words[0], after("via"), after("metric"), after("table")))
        elif kind in ("rule", "rule6"):
            for line in lines:
                words = line.split()
                put("rule from %s table %s" % (words[words.index("from") + 1], words[words.index("table") + 1]))
    return facts


READERS = {
    "netplan": (netplan, from_netplan),
    "networkd": (networkd, from_networkd),
    "network-manager": (network_manager, from_keyfiles),
    "ifupdown": (eni, from_eni),
    "ifcfg": (sysconfig, from_sysconfig),
}


def render(module, state):
    with tempfile.TemporaryDirectory() as target:
        config = {}
        if module is sysconfig:
            config = sysconfig.Renderer({}).sysconf_dir and {"flavor": "rhel"}
            renderer = sysconfig.Renderer(dict(sysconfig_config()))
        else:
            renderer = module.Renderer(config)
        renderer.render_network_state(state, target=target)
        files = {}
        for path in glob.glob(target + "/**", recursive=True):
            if os.path.isfile(path):
                files[path[len(target) + 1:]] = open(path).read()
        return files


def sysconfig_config():
    from cloudinit.distros import rhel
    return rhel.Distro.renderer_configs["sysconfig"]


answer = {"ours": {}, "theirs": {}}
if given["network_data"]:
    config = openstack.convert_net_json(json.loads(given["network_data"]), known_macs=MACS)
else:
    config = yaml.safe_load(given["text"])
state = network_state.parse_net_config_data(config, renderer=None)
answer["state"] = sorted(state_facts(state))
if not given["network_data"]:
    for system, (module, reader) in READERS.items():
        answer["ours"][system] = sorted(reader(given["ours"][system]))
        try:
            config = yaml.safe_load(given["text"])
            renderer = netplan.Renderer({}) if module is netplan else None
            state = network_state.parse_net_config_data(config, renderer=renderer)
            answer["theirs"][system] = sorted(reader(render(module, state)))
        except Exception as error:
            answer["theirs"][system] = ["%s: %s" % (type(error).__name__, error)]
json.dump(answer, sys.stdout)
