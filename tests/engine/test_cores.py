"""What a container may use of the processor, read from trees as kernels and container engines make
them: both versions of cgroups, with a namespace of their own and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.core import cores
from engine.engine_config import EngineConfig
from engine.serving.pool import EnginePool
from engine.serving.warmup import Measured

EIGHT = set(range(8))
V1, V2 = "cgroup cgroup rw,{}", "cgroup2 cgroup2 rw"


def tree(root: Path, cgroup: str, mounts: list[tuple[str, str, str]], **files: str) -> Path:
    """`mounts` are the group that is mounted, where, and as what; `files` by path below root."""
    own = root / "proc/self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(cgroup)
    lines = [
        f"{31 + n} 23 0:{28 + n} {inside} {where} rw,nosuid - {kind}"
        for n, (inside, where, kind) in enumerate(mounts)
    ]
    (own / "mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + "\n".join(lines))
    for where, content in files.items():
        file = root / where
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return root


def test_version_2_in_a_namespace_of_its_own(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "0::/\n",
        [("/", "/sys/fs/cgroup", V2)],
        **{"sys/fs/cgroup/cpu.max": "50000 100000"},
    )
    assert cores.usable_cores(root, EIGHT) == 0.5


@pytest.mark.parametrize(
    ("outer", "inner", "wanted"),
    [("max 100000", "150000 100000", 1.5), ("100000 100000", "max 100000", 1.0), ("max", "max", 8)],
)
def test_version_2_takes_the_tightest_of_nested_groups(
    tmp_path: Path, outer: str, inner: str, wanted: float
) -> None:
    """Without a namespace: the path leads from the top of the hierarchy to us."""
    folder = "sys/fs/cgroup/kubepods.slice"
    root = tree(
        tmp_path,
        "0::/kubepods.slice/pod1/box\n",
        [("/", "/sys/fs/cgroup", V2)],
        **{f"{folder}/cpu.max": outer, f"{folder}/pod1/cpu.max": inner, f"{folder}/pod1/box/x": ""},
    )
    assert cores.usable_cores(root, EIGHT) == wanted


def test_version_1_where_the_mount_begins_at_our_own_group(tmp_path: Path) -> None:
    """As Docker does without a namespace: the path is the host's, the mount is the container's."""
    root = tree(
        tmp_path,
        "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n",
        [("/docker/abc", "/sys/fs/cgroup/cpu,cpuacct", V1.format("cpu,cpuacct"))],
        **{
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "20000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "10000",
        },
    )
    assert cores.usable_cores(root, EIGHT) == 2.0


@pytest.mark.parametrize(("quota", "wanted"), [("-1", 8), ("25000", 0.25), ("900000", 8)])
def test_version_1_below_the_top(tmp_path: Path, quota: str, wanted: float) -> None:
    root = tree(
        tmp_path,
        "1:cpu:/system.slice/voipavatar.service\n0::/\n",
        [("/", "/sys/fs/cgroup/cpu", V1.format("cpu")), ("/", "/sys/fs/cgroup/unified", V2)],
        **{
            "sys/fs/cgroup/cpu/system.slice/voipavatar.service/cpu.cfs_quota_us": quota,
            "sys/fs/cgroup/cpu/system.slice/voipavatar.service/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/other.service/cpu.cfs_quota_us": "1000",
            "sys/fs/cgroup/cpu/other.service/cpu.cfs_period_us": "100000",
        },
    )
    assert cores.usable_cores(root, EIGHT) == wanted


@pytest.mark.parametrize(
    ("cgroup", "mount", "file"),
    [
        ("0::/box\n", ("/", "/sys/fs/cgroup", V2), "sys/fs/cgroup/box/cpuset.cpus.effective"),
        (
            "2:cpuset:/box\n",
            ("/", "/sys/fs/cgroup/cpuset", V1.format("cpuset")),
            "sys/fs/cgroup/cpuset/box/cpuset.cpus",
        ),
    ],
)
def test_cpusets_count_with_affinity(
    tmp_path: Path, cgroup: str, mount: tuple[str, str, str], file: str
) -> None:
    root = tree(tmp_path, cgroup, [mount], **{file: "0-1,6"})
    assert cores.usable_cores(root, EIGHT) == 3
    assert cores.usable_cores(root, {1, 2, 3}) == 1


def test_a_mount_point_with_a_space_in_its_name(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "0::/\n",
        [("/", "/my\\040cgroups", V2)],
        **{"my cgroups/cpu.max": "75000 50000"},
    )
    assert cores.usable_cores(root, EIGHT) == 1.5


@pytest.mark.parametrize("path", ["/../../elsewhere", "/a/removed/group"])
def test_a_path_that_cannot_be_seen_leaves_what_is_mounted(tmp_path: Path, path: str) -> None:
    root = tree(
        tmp_path,
        f"0::{path}\n",
        [("/", "/sys/fs/cgroup", V2)],
        **{"sys/fs/cgroup/cpu.max": "300000 100000"},
    )
    assert cores.usable_cores(root, EIGHT) == 3


@pytest.mark.parametrize("content", ["", "nonsense", "0 100000", "100000 0", "-5 100000", "x y"])
def test_what_cannot_be_understood_limits_nothing(tmp_path: Path, content: str) -> None:
    root = tree(
        tmp_path,
        "0::/\nbroken\n",
        [("/", "/sys/fs/cgroup", V2)],
        **{"sys/fs/cgroup/cpu.max": content},
    )
    assert cores.usable_cores(root, EIGHT) == 8


def test_without_proc_affinity_is_all_there_is(tmp_path: Path) -> None:
    assert cores.usable_cores(tmp_path, {0, 5}) == 2
    assert 0 < cores.usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("50000 100000", 0.5 * 2.5 / 3),  # three ticks in the fullest period, 2.5 on average
        ("100000 200000", 0.5),  # always five
        ("5000 10000", 0.5),  # stops of a few ms
    ],
)
def test_pictures_rely_on_what_the_fullest_period_leaves(
    tmp_path: Path, content: str, wanted: float
) -> None:
    root = tree(
        tmp_path,
        "0::/\n",
        [("/", "/sys/fs/cgroup", V2)],
        **{"sys/fs/cgroup/cpu.max": content},
    )
    assert cores.usable_cores(root, EIGHT, tick_s=0.04) == pytest.approx(wanted)
    assert cores.usable_cores(root, EIGHT) == 0.5


@pytest.mark.parametrize(("quota", "held"), [(8.0, 21), (2.0, 5), (1.0, 2), (0.5, 1)])
def test_admission_promises_what_the_quota_holds(
    monkeypatch: pytest.MonkeyPatch, quota: float, held: int
) -> None:
    """A device that could do forty; each session costs 0.18 cores and 25 pictures of 5 ms."""

    class Fast:
        def start(self) -> Measured:
            return Measured(0.01, 2000.0, 0.0054)

    monkeypatch.setattr("engine.serving.pool.usable_cores", lambda tick_s: quota)
    pool = EnginePool(EngineConfig(), painter=lambda _: Fast())  # type: ignore[arg-type,return-value]
    pool.start()
    assert pool.capacity == held


def test_libraries_start_no_more_threads_than_there_are_cores() -> None:
    """In a process of its own: they read it once."""
    program = (
        "import os; from pathlib import Path; import engine.core.cores as cores\n"
        "os.cpu_count = lambda: 64\n"
        "cores.usable_cores = lambda: 1.5\n"
        "cores.limit_libraries()\n"
        "import cv2; print(cv2.getNumThreads(), *(os.environ[name] for name in cores.LIBRARIES))\n"
        "print(cores.waiting_threads('w')._max_workers, cores.described())"
    )
    clean = {name: value for name, value in os.environ.items() if name not in cores.LIBRARIES}
    clean["MKL_NUM_THREADS"] = "3"  # an operator's own word
    done = subprocess.run(
        [sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=True
    )
    threads, words = done.stdout.splitlines()
    assert threads == "1 1 1 3 1"
    assert words == "5 1.5 of 64 cores (affinity, or a container's CPU limit)"
