"""How a measurement names the processor that it was made on."""

import platform

import pytest

import machine

CORE = "processor\t: {n}\ncpu family\t: {family}\nmodel\t\t: 17\nmodel name\t: {name}\n\n"


@pytest.mark.parametrize(
    "name, said",
    [
        ("Maker Chip 9000 @ 2.00GHz", "Maker Chip 9000 @ 2.00GHz"),
        ("Maker Chip", "Maker Chip (family 25, model 17)"),
    ],
)
def test_a_name_without_a_number_gets_family_and_model_of_the_first_core(tmp_path, name, said):
    path = tmp_path / "cpuinfo"
    path.write_text("".join(CORE.format(n=n, family=25 + n, name=name) for n in range(2)))
    assert machine.processor(path) == said


@pytest.mark.parametrize("content", [None, "processor\t: 0\nBogoMIPS\t: 50.00\n\n", ""])
def test_without_a_name_in_the_file_it_is_pythons(tmp_path, content):
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_text(content)
    assert machine.processor(path) == (platform.processor() or platform.machine())


def test_the_description_has_what_records_need():
    found = machine.description()
    assert set(found) == {"hardware", "precision", "versions", "commit"}
    assert machine.processor() in found["hardware"] and "torch" in found["versions"]
