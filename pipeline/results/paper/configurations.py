"""The configurations of the CarbonEdge paper, and its figures that conf/published does not have. Pure."""

from __future__ import annotations

NAMES = {
    "monolithic": "Monolithic",
    "amp4ec": "AMP4EC",
    "ce_performance": "CE-Performance",
    "ce_balanced": "CE-Balanced",
    "ce_green": "CE-Green",
    "best_split": "Best split (ours)",
}
"""The paper's name of each configuration, by file of conf/paper."""
MODELS = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenetv4_conv_small": "mobilenetv4",
    "efficientnet_b0": "efficientnet_b0",
}
"""The name of each model in conf/published/carbonedge.csv, by our name."""
SHARES = {"ce_performance": "node-high", "ce_balanced": "node-high", "ce_green": "node-green"}
"""Table V: the node that runs all tasks, by configuration."""
SWITCH = 0.5
"""Fig. 3: the carbon weight from which tasks go to node-green."""
SCHEDULING_MS = 0.03
"""Time to schedule a task."""
