"""What the numbers in the documentation come from: spuproj against its peers and against copying as many bytes."""
