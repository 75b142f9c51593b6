relucidate.start();
