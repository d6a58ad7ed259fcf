"""The two kinds of room that a rehearsed kernel runs in: with namespaces of its own, else without.

With them, it has no network, and a root with /kaggle/input mounted read-only and /kaggle/working. Without, its Pythons
refuse connections to other machines, HPA_KAGGLE names the folder of copied inputs and of working, and a write into an
input, which the copies' modes forbid to all but root, is found afterwards by their digests.
"""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

NAMESPACE = ["unshare", "--map-root-user", "--net", "--mount"]
WITHOUT_NETWORK = Path(__file__).resolve().parent / "without_network"
# builds the root below $1 out of this machine's folders and /kaggle, then runs what follows the sources in it
ENTER = r"""
set -e
root=$1 working=$2 count=$3; shift 3
mount -t tmpfs none "$root"
for entry in /*; do
    if [ -L "$entry" ]; then cp -P "$entry" "$root/"
    elif [ -d "$entry" ] && [ "$entry" != /kaggle ]; then
        mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"
    fi
done
mkdir -p "$root/kaggle/input" "$root/kaggle/working"
mount --bind "$working" "$root/kaggle/working"
mount -t tmpfs none "$root/kaggle/input"
for _ in $(seq "$count"); do
    mkdir -p "$root/kaggle/input/$2"
    mount --bind "$1" "$root/kaggle/input/$2"
    mount -o remount,bind,ro "$root/kaggle/input/$2"
    shift 2
done
mount -o remount,ro "$root/kaggle/input"
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 65))'  # localhost, over which kernels are talked to
exec chroot "$root" sh -c 'cd /kaggle/working && exec "$@"' sh "$@"
"""


def has_namespaces() -> bool:
    """Whether this system lets its users make namespaces."""
    return bool(shutil.which(NAMESPACE[0])) and not subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode


@contextlib.contextmanager
def open_room(place: Path, sources: list[tuple[Path, str]], namespaces: bool) -> Iterator[tuple[list[str], dict]]:
    """Yield what to put before a command, and variables to add to its environment, for it to run in a room.

    Parameters
    ----------
    place : Path
        New folder; `working` in it becomes Kaggle's working folder and is to be the command's current one.
    sources : list of (Path, str)
        What is attached: a folder, and its path below Kaggle's input folder.
    namespaces : bool
        Which kind of room.

    Raises
    ------
    PermissionError
        On leaving a room without namespaces, where the command wrote into its inputs; names the files.
    """
    (place / "working").mkdir(parents=True)
    if namespaces:
        (place / "root").mkdir()
        enter = ["bash", "-c", ENTER, "enter", str(place / "root"), str(place / "working"), str(len(sources))]
        yield [*NAMESPACE, *enter, *(str(item) for source in sources for item in source)], {}
        return
    inputs = place / "input"
    for folder, target in sources:
        shutil.copytree(folder, inputs / target)
    # the notebooks' second cell looks for the library in /kaggle/input itself
    libraries = [str(inputs / target) for folder, target in sources if (folder / "hpa_utils").is_dir()]
    variables = {"HPA_KAGGLE": str(place), "PYTHONPATH": ":".join([str(WITHOUT_NETWORK), *libraries])}
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # root's Python would write it beside the library, on Kaggle it cannot
    before = digests(inputs)
    change_modes(inputs, "a-w")
    try:
        yield [], variables
    finally:
        change_modes(inputs, "u+w")
    after = digests(inputs)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise PermissionError(f"{len(changed)} files were written, changed or removed in {inputs}: {changed[:5]}")


def remove_room(place: Path) -> None:
    """Remove a room, if there is one, with the read-only inputs that a killed rehearsal left in it."""
    if (place / "input").is_dir():
        change_modes(place / "input", "u+w")
    if place.is_dir():
        shutil.rmtree(place)


def change_modes(folder: Path, mode: str) -> None:
    """`chmod` all in a folder."""
    subprocess.run(["chmod", "-R", mode, folder], check=True)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
