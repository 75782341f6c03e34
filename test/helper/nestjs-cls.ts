import { jest } from '@jest/globals';
import * as common from '@nestjs/common';
import * as core from '@nestjs/core';
import * as unknownDependencies from '@nestjs/core/errors/exceptions/unknown-dependencies.exception';
import * as injector from '@nestjs/core/injector/injector';

// Node can `require` ES modules, Jest on Node 20 cannot: these CommonJS packages get the Nest that the tests import.
jest.mock('@nestjs/common', () => common);
jest.mock('@nestjs/core', () => core);
jest.mock('@nestjs/core/errors/exceptions/unknown-dependencies.exception', () => unknownDependencies);
jest.mock('@nestjs/core/injector/injector', () => injector);

export const { ClsModule, ClsService } = await import('nestjs-cls');
export const {
  ClsPluginTransactional,
  getTransactionHostToken,
  getTransactionToken,
  Propagation,
  Transactional,
  TransactionHost,
} = await import('@nestjs-cls/transactional');
