"""From a form to a module's text: loops over rows on the CPU, a thread for each pixel on CUDA."""
