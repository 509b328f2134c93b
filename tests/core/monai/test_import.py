"""What an import of spuproj.monai needs, and that spuproj does not need it."""

from processes.forked import run_forked


def test_without_monai_the_import_says_how_to_install_it():
    result = run_forked("import sys; sys.modules['monai'] = None; import spuproj.monai")
    assert 'ImportError: spuproj.monai needs MONAI: pip install "spuproj[monai]"' in result.stderr


def test_spuproj_itself_does_not_import_monai():
    assert run_forked("import sys, spuproj; sys.exit('monai' in sys.modules)").returncode == 0
