"""The list of instances that systemd follows."""

from pathlib import Path

from rr.service.instances import FILE, read, superfluous, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, ["rack-2", "main"])
    assert read(tmp_path / FILE) == ["main", "rack-2"]


def test_a_list_that_says_the_same_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path, ["main"])
    before = (tmp_path / FILE).stat()
    write(tmp_path, ["main"])
    assert (tmp_path / FILE).stat() == before
    write(tmp_path, ["main", "other"])
    assert (tmp_path / FILE).stat().st_ino != before.st_ino


def test_names_that_could_be_anything_else_in_a_unit_are_left_out(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"main\n../x\n-f\na b\n\xff\nx.service/..\n" + b"y" * 64 + b"\nrack-1\n")
    assert read(tmp_path / FILE) == ["main", "rack-1"]


def test_only_engines_of_no_instance_are_superfluous() -> None:
    units = ["rr-engine@main.service", "rr-engine@old.service", "rrd.service", "ssh.service"]
    assert superfluous(units, ["main"]) == ["rr-engine@old.service"]
