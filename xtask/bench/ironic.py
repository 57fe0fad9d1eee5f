import json, os, sys, time
began = time.monotonic()
from oslo_config import cfg
from ironic_python_agent import config  # registers the options
from ironic_python_agent import disk_utils
from ironic_python_agent.extensions import standby
imported = {"import_seconds": time.monotonic() - began, "import_cpu_seconds": time.process_time()}
url, device, sha512 = sys.argv[1:4]
cfg.CONF([], project="ironic-python-agent")
disk_utils.wait_for_disk_to_become_available = lambda device: None
disk_utils.fix_gpt_partition = lambda device, node_uuid: None
image = {"id": "image", "urls": [url], "disk_format": "qcow2", "os_hash_algo": "sha512", "os_hash_value": sha512}
standby.StandbyExtension()._cache_and_write_image(image, device)
print(json.dumps(imported))
