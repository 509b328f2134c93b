"""What an import of spuproj.monai needs, and that spuproj does not need it."""

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_without_monai_the_import_says_how_to_install_it():
    result = run("import sys; sys.modules['monai'] = None; import spuproj.monai")
    assert "ImportError: spuproj.monai needs MONAI: pip install 'spuproj[monai]'" in result.stderr


def test_spuproj_itself_does_not_import_monai():
    assert run("import sys, spuproj; sys.exit('monai' in sys.modules)").returncode == 0
