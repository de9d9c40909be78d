"""How a command ends."""

from winnow.errors import InputError, exit_code


def test_a_command_prints_what_it_did_or_one_line_on_what_was_wrong(capsys):
    def refused():
        raise InputError("params.yaml: k is 0; give 1 or more")

    assert exit_code(lambda: "wrote a.md") == 0 and exit_code(refused) == 1
    assert capsys.readouterr() == ("wrote a.md\n", "params.yaml: k is 0; give 1 or more\n")
