"""Sharing: two processes learn what one learns, to rounding."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers import classifier

pytest.importorskip("accelerate")

# Run by each of two processes; the first prints what both found.
SCRIPT = """
import json, warnings
import numpy as np, torch
from torch import nn
from sksiamese import SiameseOneShotClassifier
from sksiamese.twin.heads import build_head
from sksiamese.twin.losses import TwinLoss
from sksiamese.twin.network import TwinNetwork
from sksiamese.twin.sharing import SharedGradients, Team

torch.set_num_threads(1)
warnings.simplefilter("ignore")
team = Team.of("accelerate")
found = {"team": [team.number, team.size]}

rng = np.random.default_rng(0)
images = torch.from_numpy(rng.normal(size=(7, 1, 16, 16)).astype(np.float32))
classes = torch.tensor([0, 0, 1, 1, 2, 2, 2])
same = (classes[:, None] == classes).long()
same.fill_diagonal_(-1)
torch.manual_seed(0)
encoder = nn.Sequential(
    nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
    nn.Linear(784, 8, bias=False), nn.BatchNorm1d(8, momentum=None, affine=False)
)
network = TwinNetwork(encoder, build_head("cosine", (8,), torch.Generator())).train()
i, j = torch.tensor([0, 2, 4, 5]), torch.tensor([1, 3, 0, 6])
cases = ("all", {}, same), ("pairs", {"i": i, "j": j}, torch.tensor([1, 1, 0, 1]))
for name, pairs, target in cases:
    results = []
    for shared in (False, True):
        for norm in (network.encoder[1], network.encoder[5]):
            norm.reset_running_stats()
        network.zero_grad()
        logits = team.logits(network, images, **pairs) if shared else network(images, **pairs)
        loss = TwinLoss("both")(logits, target)
        loss.backward()
        parameters = list(network.named_parameters())
        if shared:
            SharedGradients(team).on_grad_computed(None, parameters)
        values = [p.grad for _, p in parameters if p.grad is not None] + list(network.buffers())
        results.append([loss.detach(), *(value.clone().double() for value in values)])
    found[name] = [
        float((a - b).abs().max() / (1e-6 + a.abs().max())) for a, b in zip(*results, strict=True)
    ]

X = rng.normal(size=(40, 8)).astype(np.float32) + np.repeat(np.eye(8, dtype=np.float32) * 3, 5, 0)
y = np.arange(40) // 5
params = {"encoder": "mlp", "max_iter": 2, "precision": "float32", "device": "accelerate"}
clf = SiameseOneShotClassifier(**params, random_state=0).fit(X, y)
found["losses"] = [epoch["train_loss"] for epoch in clf.history_[0]]
found["logits"] = clf.decision_function(X).tolist()
refused = {"random_state": {}, "checkpoint_dir": {"random_state": 0, "checkpoint_dir": "x"}}
for name, wrong in refused.items():
    try:
        SiameseOneShotClassifier(**params, **wrong).fit(X, y)
    except ValueError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """What each of two processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As `accelerate launch --cpu --num_processes 2` sets them.
    of_all = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    of_all |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **of_all, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_team_of_accelerate_knows_its_processes(found):
    assert [of_one["team"] for of_one in found] == [[0, 2], [1, 2]]


@pytest.mark.parametrize("name", ["all", "pairs"])
def test_team_has_the_loss_the_gradients_and_the_statistics_of_one_process(found, name):
    for of_one in found:
        assert len(of_one[name]) > 10
        assert max(of_one[name]) < 1e-5


def test_fit_on_two_processes_learns_what_one_learns(found):
    rng = np.random.default_rng(0)
    rng.normal(size=(7, 1, 16, 16))
    centres = np.repeat(np.eye(8, dtype=np.float32) * 3, 5, 0)
    X, y = rng.normal(size=(40, 8)).astype(np.float32) + centres, np.arange(40) // 5
    alone = classifier("mlp", max_iter=2, precision="float32").fit(X, y)
    losses = [epoch["train_loss"] for epoch in alone.history_[0]]
    for of_one in found:
        np.testing.assert_allclose(of_one["losses"], losses, rtol=1e-5)
        np.testing.assert_allclose(of_one["logits"], alone.decision_function(X), atol=1e-2)


def test_fit_on_two_processes_needs_the_same_draws_and_no_checkpoints(found):
    for of_one in found:
        assert "set random_state to an integer" in of_one["random_state"]
        assert "set checkpoint_dir=None" in of_one["checkpoint_dir"]
