"""`systemd/install.sh` on a Debian as it comes: the system's NumPy and OpenCV stay, focusd runs on them."""

from __future__ import annotations

import json

import pytest

from .conftest import PIP, SCRIPT, Installed
from .root import Root

pytestmark = pytest.mark.timeout(3600)
SYSTEM = "/usr/lib/python3/dist-packages/"
# Each frame is sharp in a fifth of its rows, and the more blurred the farther away from it.
STACK = """
from pathlib import Path
import cv2, numpy as np
folder = Path("/root/stack")
folder.mkdir(exist_ok=True)
random = np.random.default_rng(7)
coarse = random.integers(40, 216, (120, 160, 3), np.uint8)
truth = cv2.resize(coarse, (480, 360), interpolation=cv2.INTER_CUBIC)
rows = np.linspace(0.0, 4.0, 360)
for number in range(5):
    frame = truth.copy()
    for away in (1, 2, 3, 4):
        blurred = cv2.GaussianBlur(truth, (0, 0), 1.2 * away)
        these = np.rint(np.abs(rows - number)) == away
        frame[these] = blurred[these]
    cv2.imwrite(str(folder / f"{number}.png"), frame)
cv2.imwrite(str(folder.parent / "truth.png"), truth)
"""
JUDGE = """
import json
from pathlib import Path
import cv2, numpy as np
truth = cv2.imread("/root/truth.png").astype(float)
def judge(path):
    image = cv2.imread(str(path))
    error = float(np.sqrt(np.mean((image - truth) ** 2)))
    return cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var(), error
frames = [judge(path) for path in sorted(Path("/root/stack").glob("*.png"))]
print(json.dumps({"frames": frames, "fused": judge("/root/sharp.png")}))
"""


def ask(root: Root, *command: str) -> str:
    """Run a program that must end with 0; return what it says."""
    done = root.run(*command)
    assert done.code == 0, done.said
    return done.said


def test_pip_finds_nothing_broken(installed: Installed) -> None:
    for said in (installed.checked.said, ask(installed.root, *PIP, "check")):
        assert "No broken requirements found" in said


def test_numpy_and_opencv_are_the_systems_and_work(installed: Installed) -> None:
    assert installed.numpy.startswith(SYSTEM)
    script = "import cv2, numpy; print(numpy.__file__, cv2.__file__, cv2.blur(numpy.eye(4), (3, 3)).shape)"
    numpy, opencv, shape = installed.root.python(script).split(maxsplit=2)
    assert numpy.startswith(SYSTEM)
    assert opencv.startswith(SYSTEM)
    assert shape == "(4, 4)"


def test_pip_is_kept_from_putting_another_numpy_over_the_systems(root: Root) -> None:
    newer = root.run(
        *PIP, "install", "--dry-run", "numpy!=" + root.python("import numpy; print(numpy.__version__)")
    )
    assert newer.code != 0
    assert "numpy" in newer.said
    ask(root, *PIP, "install", "--upgrade", "numpy", "opencv-python-headless", "--no-index")
    assert root.python("import numpy; print(numpy.__file__)").startswith(SYSTEM)


def test_focusd_says_what_it_is_made_of(root: Root) -> None:
    said = ask(root, "/opt/focusd/bin/focusd", "--version", "--verbose")
    assert (
        root.python("import cv2, numpy; print(f'NumPy {numpy.__version__}, OpenCV {cv2.__version__}')")
        in said
    )
    assert "fusion by the compiled kernel" in said
    assert "JPEG by libturbojpeg" in said
    assert "steps by a loop in C" in said


def test_the_unit_the_rule_and_the_user_are_there(root: Root) -> None:
    ask(root, "systemd-analyze", "verify", "/etc/systemd/system/focusd.service")
    assert (root.path / "etc/udev/rules.d/60-focusd-gpio.rules").is_file()
    assert set(ask(root, "id", "-nG", "focusd").split()) == {"focusd", "gpio", "video", "dialout", "plugdev"}


def test_the_user_focusd_can_run_it_and_the_configuration_is_good(root: Root) -> None:
    as_focusd = ("setpriv", "--reuid", "focusd", "--regid", "focusd", "--init-groups", "--inh-caps=-all")
    said = ask(root, *as_focusd, "/opt/focusd/bin/focusd", "check", "/etc/focusd/focusd.toml")
    assert "good" in said


def test_a_stack_is_fused_sharper_than_any_of_its_frames(root: Root) -> None:
    root.python(STACK)
    ask(root, "/opt/focusd/bin/focusd", "fuse", "/root/stack", "-o", "/root/sharp.png")
    judged = json.loads(root.python(JUDGE))
    assert judged["fused"][0] > max(sharpness for sharpness, _ in judged["frames"])
    assert judged["fused"][1] < min(error for _, error in judged["frames"]) / 2


def test_without_root_or_a_network_it_says_so(installed: Installed) -> None:
    assert installed.as_user.code == 1
    assert "needs root: sudo" in installed.as_user.said
    assert installed.offline.code == 1
    assert "is this machine on the network?" in installed.offline.said


def test_what_it_cannot_do_is_refused_before_anything_is_touched(root: Root) -> None:
    for arguments, words in (
        (("--extras", "lidar"), 'there is no extra "lidar"'),
        (("/nowhere.whl",), "there is no /nowhere.whl"),
        (("/etc",), "/etc is no checkout of focusd"),
    ):
        done = root.run(SCRIPT, *arguments)
        assert done.code == 1
        assert words in done.said
    assert root.run(SCRIPT, "--backwards").code == 2


def test_another_run_upgrades_what_is_there_and_keeps_the_configuration(installed: Installed) -> None:
    etc = installed.root.path / "etc"
    assert installed.second.code == 0, installed.second.said
    assert "focusd.service.before" in installed.second.said
    assert (etc / "systemd/system/focusd.service.before").read_text().startswith("# mine")
    assert "ExecStart=" in (etc / "systemd/system/focusd.service").read_text()
    assert (etc / "focusd/focusd.toml").read_text().startswith("# mine")
    script = "import gphoto2, matplotlib, numpy, rawpy, serial; print(numpy.__file__)"
    assert installed.root.python(script).startswith(SYSTEM)


def test_a_run_with_nothing_to_do_changes_nothing(installed: Installed) -> None:
    assert installed.third.code == 0, installed.third.said
    assert "is replaced" not in installed.third.said
    before, after = installed.frozen
    assert before == after
